//! The keys that configure object stores: from a connection, and otherwise from the environment.

use std::collections::BTreeMap;

use arrowload_core::{Error, ErrorKind, Result, Secret, nearest};

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

/// What the environment says of object stores, and over it, whatever the case of their names, the options of a connection.
pub fn settings(options: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    let variables = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let mut all: BTreeMap<String, String> = variables
        .filter(|(key, _)| ECOSYSTEMS.iter().any(|prefix| key.starts_with(prefix)))
        .collect();
    for (key, value) in options {
        all.retain(|known, _| !known.eq_ignore_ascii_case(key));
        all.insert(key.clone(), value.expose().to_owned());
    }
    all
}

/// Whether a key is about the connection to any store.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "http"))]
fn is_client_key(key: &str) -> bool {
    key.parse::<object_store::ClientConfigKey>().is_ok()
}

/// No store can be opened, so none can be asked.
#[cfg(not(any(feature = "aws", feature = "azure", feature = "gcp", feature = "http")))]
fn is_client_key(_: &str) -> bool {
    true
}

/// Refuses a storage option that no store of this build knows: `object_store` itself would skip it.
///
/// # Errors
/// [`ErrorKind::InvalidOption`], with the key and the nearest one that is known.
pub fn check_key(key: &str) -> Result<()> {
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
        .map_or_else(String::new, |usual| format!(" Did you mean `{usual}`?"));
    let message = format!(
        "storage_options: no object store has the key `{key}`.{hint} The usual ones are {}",
        USUAL_KEYS.join(", ")
    );
    Err(Error::new(ErrorKind::InvalidOption, message).with("key", key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "aws")]
    #[test]
    fn misspelt_keys_are_refused_with_the_nearest() {
        let error = check_key("AWS_REGOIN").expect_err("no such key");
        assert_eq!(
            (error.kind(), error.get("key")),
            (ErrorKind::InvalidOption, Some("AWS_REGOIN"))
        );
        assert!(
            error.to_string().contains("Did you mean `aws_region`?"),
            "{error}"
        );
        check_key("AWS_REGION").expect("a key, whatever its case");
        check_key("timeout").expect("a key of all stores");
    }

    #[test]
    fn options_stand_over_each_other_whatever_their_case() {
        let options = ["aws_region", "AWS_REGION"]
            .map(|key| (key.to_owned(), Secret::new(key.to_lowercase())));
        let all = settings(&BTreeMap::from(options));
        let regions = all
            .keys()
            .filter(|key| key.eq_ignore_ascii_case("aws_region"));
        assert_eq!(regions.count(), 1);
    }
}
