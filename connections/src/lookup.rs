//! Finds the loader or source that a name or URL means.

use arrowload_core::{Error, ErrorKind, Registry, Result, nearest, url_scheme};

use crate::Connections;
use crate::backend::{Backend, Role};
use crate::interpolate::{in_text, in_url};
use crate::overlay::{TYPE, URL};
use crate::profiles::Profile;

impl Connections {
    pub(crate) fn backend_of<'r>(
        &self,
        role: Role,
        registry: &'r Registry,
        url_or_name: &str,
    ) -> Result<Backend<'r>> {
        if let Some(scheme) = url_scheme(url_or_name) {
            return role.by_scheme(registry, &scheme);
        }
        let own_name = role.by_name(registry, url_or_name).ok();
        match self.profile(url_or_name) {
            Some(profile) => match self.backend_of_profile(role, registry, &profile)? {
                Some(backend) => Ok(backend),
                None => own_name.ok_or_else(|| untyped(&profile)),
            },
            None => own_name.ok_or_else(|| {
                self.not_found(url_or_name, role.all(registry).iter().map(Backend::name))
            }),
        }
    }

    /// What the profile's `type` says, else the scheme of its `url`.
    fn backend_of_profile<'r>(
        &self,
        role: Role,
        registry: &'r Registry,
        profile: &Profile,
    ) -> Result<Option<Backend<'r>>> {
        if let Some(kind) = text(profile, TYPE)? {
            let kind = in_text(kind, self.environment())
                .map_err(|why| refused(profile, TYPE, ErrorKind::InvalidOption, &why))?
                .value;
            let found = role.by_name(registry, &kind);
            return found
                .map(Some)
                .map_err(|error| refused(profile, TYPE, error.kind(), error.message()));
        }
        let Some(url) = text(profile, URL)? else {
            return Ok(None);
        };
        let invalid = |why: &str| refused(profile, URL, ErrorKind::InvalidOption, why);
        let url = in_url(url, self.environment())
            .map_err(|why| invalid(&why))?
            .value;
        let scheme = url_scheme(&url)
            .ok_or_else(|| invalid("it is no URL, as it does not begin with `scheme://`"))?;
        let found = role.by_scheme(registry, &scheme);
        found
            .map(Some)
            .map_err(|error| refused(profile, URL, error.kind(), error.message()))
    }

    pub(crate) fn not_found(&self, name: &str, own: impl Iterator<Item = &'static str>) -> Error {
        // A URL with a mistake in its beginning, which may hold a password.
        if name.contains(['@', '=']) || name.contains("//") {
            let message = "what was given is neither the name of a connection nor a URL; a URL begins with `scheme://` (it is not shown, \
                           as it may hold a password)";
            return Error::new(ErrorKind::ConnectionNotFound, message);
        }
        let mut known: Vec<String> = self
            .profiles()
            .iter()
            .map(|profile| profile.name.clone())
            .chain(own.map(str::to_owned))
            .collect();
        known.sort();
        known.dedup();
        let near = nearest(name, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || ".".to_owned(),
            |near| format!("; did you mean `{near}`?"),
        );
        let message = format!(
            "no connection is named `{name}`{hint} Known: {}. Name it in the config file ([connections.{name}]) or in the environment \
             (ARROWLOAD_CONNECTIONS__{}__…)",
            known.join(", "),
            name.to_uppercase().replace('-', "_")
        );
        Error::new(ErrorKind::ConnectionNotFound, message)
    }
}

fn text<'p>(profile: &'p Profile, key: &str) -> Result<Option<&'p str>> {
    let text = profile.strongest(key).map(|setting| setting.value.as_str());
    text.map(|text| {
        text.ok_or_else(|| refused(profile, key, ErrorKind::InvalidOption, "it must be text"))
    })
    .transpose()
}

fn refused(profile: &Profile, key: &str, kind: ErrorKind, why: &str) -> Error {
    let origin = profile
        .strongest(key)
        .map(|setting| setting.origin.to_string())
        .unwrap_or_default();
    Error::new(
        kind,
        format!(
            "connection `{}`: `{key}` (from {origin}): {why}",
            profile.name
        ),
    )
    .with("key", key)
}

fn untyped(profile: &Profile) -> Error {
    let message = format!(
        "connection `{}` does not say what it connects to; set its `type` or `url`",
        profile.name
    );
    Error::new(ErrorKind::InvalidOption, message)
}
