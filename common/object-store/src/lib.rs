#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Result, Secret, nearest};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

/// Variables of these ecosystems configure their stores.
const ECOSYSTEMS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// The keys that are written most, for suggestions.
const USUAL_KEYS: [&str; 18] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint",
    "aws_virtual_hosted_style_request",
    "aws_skip_signature",
    "aws_allow_http",
    "aws_copy_if_not_exists",
    "google_service_account",
    "google_service_account_key",
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_storage_sas_key",
    "azure_storage_use_emulator",
    "allow_http",
    "timeout",
    "proxy_url",
];

/// Opens the store of a URL, and says where in it the URL points.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a store that this build leaves out, [`ErrorKind::InvalidOption`] for a scheme or a key that
/// no store has, and for options that contradict each other.
pub fn open(url: &Url, options: &BTreeMap<String, Secret>) -> Result<(Box<dyn ObjectStore>, Path)> {
    check_scheme(url.scheme())?;
    options.keys().try_for_each(|key| check_key(key))?;
    let variables = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let known =
        |(key, _): &(String, String)| ECOSYSTEMS.iter().any(|prefix| key.starts_with(prefix));
    let given = options
        .iter()
        .map(|(key, value)| (key.clone(), value.expose().to_owned()));
    // S3 copies without replacing only if it is told how; the other stores do.
    let default = [("aws_copy_if_not_exists".to_owned(), "multipart".to_owned())];
    // Later options stand over earlier ones.
    let all = default
        .into_iter()
        .chain(variables.filter(known))
        .chain(given);
    object_store::parse_url_opts(
        url,
        all.map(|(key, value)| (key.to_ascii_lowercase(), value)),
    )
    .map_err(|error| {
        Error::new(
            ErrorKind::InvalidOption,
            format!(
                "the object store of {}:// cannot be set up: {error}",
                url.scheme()
            ),
        )
        .with_source(error)
    })
}

/// Refuses URLs of stores that there are not, or that this build leaves out, naming the cargo feature.
fn check_scheme(scheme: &str) -> Result<()> {
    let (feature, is_on) = match scheme {
        "s3" | "s3a" => ("aws", cfg!(feature = "aws")),
        "gs" => ("gcp", cfg!(feature = "gcp")),
        "az" | "adl" | "azure" | "abfs" | "abfss" => ("azure", cfg!(feature = "azure")),
        "http" | "https" => ("http", cfg!(feature = "http")),
        other => {
            let message = format!(
                "`{other}://` is no place for files; write a path, or a URL of file, s3, gs, az or https"
            );
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
    };
    if is_on {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("URLs of {scheme}:// need the cargo feature `{feature}`; switch it on"),
    ))
}

/// Whether a key is about the connection to any store.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "http"))]
fn is_client_key(key: &str) -> bool {
    key.parse::<object_store::ClientConfigKey>().is_ok()
}

/// No store can be opened, so none is there to ask.
#[cfg(not(any(feature = "aws", feature = "azure", feature = "gcp", feature = "http")))]
fn is_client_key(_: &str) -> bool {
    true
}

/// Refuses a key that no store of this build knows: `object_store` itself would pass over it.
fn check_key(key: &str) -> Result<()> {
    let lower = key.to_ascii_lowercase();
    let mut is_known = is_client_key(&lower);
    #[cfg(feature = "aws")]
    {
        is_known |= lower
            .parse::<object_store::aws::AmazonS3ConfigKey>()
            .is_ok();
    }
    #[cfg(feature = "gcp")]
    {
        is_known |= lower.parse::<object_store::gcp::GoogleConfigKey>().is_ok();
    }
    #[cfg(feature = "azure")]
    {
        is_known |= lower.parse::<object_store::azure::AzureConfigKey>().is_ok();
    }
    // Of a store that this build leaves out.
    let is_foreign = ECOSYSTEMS.iter().zip([
        cfg!(feature = "aws"),
        cfg!(feature = "gcp"),
        cfg!(feature = "azure"),
    ]);
    is_known |= is_foreign
        .into_iter()
        .any(|(prefix, is_on)| !is_on && key.to_ascii_uppercase().starts_with(prefix));
    if is_known {
        return Ok(());
    }
    let hint = nearest(&lower, USUAL_KEYS)
        .map_or_else(String::new, |usual| format!("; did you mean `{usual}`?"));
    let message = format!(
        "storage_options: no object store has the key `{key}`{hint} The usual ones are {}",
        USUAL_KEYS.join(", ")
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("key", key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, key: &str) -> Error {
        let options = BTreeMap::from([(key.to_owned(), Secret::new("x"))]);
        open(&Url::parse(url).expect("a URL"), &options)
            .map(|_| ())
            .expect_err("refused")
    }

    #[test]
    fn stores_that_are_left_out_name_their_feature() {
        for (url, feature) in [
            ("s3://b/x", "aws"),
            ("gs://b/x", "gcp"),
            ("az://b/x", "azure"),
            ("https://h/x", "http"),
        ] {
            let error = refused(url, "nothing_at_all");
            let text = error.to_string();
            assert!(
                text.contains(&format!("`{feature}`")) || text.contains("nothing_at_all"),
                "{text}"
            );
        }
        assert_eq!(
            refused("ftp://h/x", "timeout").kind(),
            ErrorKind::InvalidOption
        );
    }

    #[cfg(feature = "aws")]
    #[test]
    fn misspelt_keys_are_refused_with_the_nearest() {
        let error = refused("s3://b/x", "AWS_REGOIN");
        assert_eq!(
            (error.kind(), error.get("key")),
            (ErrorKind::InvalidOption, Some("AWS_REGOIN"))
        );
        assert!(
            error.to_string().contains("did you mean `aws_region`?"),
            "{error}"
        );
        let options = BTreeMap::from([("AWS_REGION".to_owned(), Secret::new("eu-west-1"))]);
        let (_, path) =
            open(&Url::parse("s3://b/x/y.parquet").expect("a URL"), &options).expect("a store");
        assert_eq!(path.as_ref(), "x/y.parquet");
    }
}
