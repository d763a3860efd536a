//! Opens the object store of a URL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrowload_core::{Error, ErrorKind, Result, Secret};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::{check_key, check_scheme, settings};

/// Opens the store of a URL, and says where in it the URL points. A URL of the web with a query, as signed ones have, is a store of
/// its own, at whose root the file is.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a store that this build leaves out, [`ErrorKind::InvalidOption`] for a scheme or a key that
/// no store has, and for options that contradict each other.
pub fn open(url: &Url, options: &BTreeMap<String, Secret>) -> Result<(Arc<dyn ObjectStore>, Path)> {
    check_scheme(url.scheme())?;
    options.keys().try_for_each(|key| check_key(key))?;
    // S3 copies without replacing only with this option; the other stores do so anyway.
    let default = ("aws_copy_if_not_exists".to_owned(), "multipart".to_owned());
    let all = settings(options)
        .into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value));
    // A URL with `http://` explicitly allows unencrypted connections.
    let plain = (url.scheme() == "http").then(|| ("allow_http".to_owned(), "true".to_owned()));
    // Later options stand over earlier ones.
    let all = std::iter::once(default).chain(plain).chain(all);
    let opened = match url.query() {
        #[cfg(feature = "http")]
        Some(_) if matches!(url.scheme(), "http" | "https") => with_query(url, all),
        _ => object_store::parse_url_opts(url, all).map(|(store, path)| (store.into(), path)),
    };
    match opened {
        Ok(opened) => Ok(opened),
        Err(error) => {
            let message = format!(
                "the object store of {}:// cannot be set up: {error}",
                url.scheme()
            );
            Err(Error::new(ErrorKind::InvalidOption, message).with_source(error))
        }
    }
}

#[cfg(feature = "http")]
fn with_query(
    url: &Url,
    options: impl Iterator<Item = (String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Path)> {
    let mut builder = object_store::http::HttpBuilder::new().with_url(url.as_str());
    for (key, value) in options {
        if let Ok(key) = key.parse() {
            builder = builder.with_config(key, value);
        }
    }
    Ok((Arc::new(builder.build()?), Path::default()))
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_opened_with_its_options() {
        let open = |key: &str| {
            let options = BTreeMap::from([(key.to_owned(), Secret::new("eu-west-1"))]);
            open(&Url::parse("s3://b/x/y.parquet").expect("a URL"), &options)
        };
        let (_, path) = open("AWS_REGION").expect("a store");
        assert_eq!(path.as_ref(), "x/y.parquet");
        let error = open("aws_regoin").map(|_| ()).expect_err("a misspelt key");
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
    }
}
