//! Which variables a session is given beside what the host gives to every one.

use super::{EnvValue, EnvVar, LaunchSite};

/// How programs on this host reach the network.
pub const NETWORK: [&str; 10] = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// `literals` as they are; then, by name alone, what the host has of the network's variables, of
/// `passed` and of the operator's `extra`. Values of the host never reach the plugin.
pub fn variables(site: &LaunchSite, literals: &[(&str, &str)], passed: &[&str], extra: &[String]) -> Vec<EnvVar> {
    let mut variables: Vec<EnvVar> = literals
        .iter()
        .map(|(name, value)| EnvVar { name: (*name).to_owned(), value: EnvValue::Literal((*value).to_owned()) })
        .collect();
    let names = NETWORK.iter().chain(passed).copied().chain(extra.iter().map(String::as_str));
    for name in names {
        let known = variables.iter().any(|variable| variable.name == name);
        if !known && site.host_variables.iter().any(|variable| variable == name) {
            variables.push(EnvVar { name: name.to_owned(), value: EnvValue::FromHost(name.to_owned()) });
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::words::tests::site;

    #[test]
    fn only_what_the_host_offers_is_passed_on_and_once() {
        let mut site = site();
        site.host_variables = ["HTTPS_PROXY", "KEY", "HOME", "QUIET"].map(str::to_owned).to_vec();
        let variables =
            variables(&site, &[("QUIET", "1")], &["KEY", "ABSENT"], &["KEY".to_owned(), "QUIET".to_owned()]);
        let shown: Vec<String> = variables.iter().map(|variable| format!("{variable:?}")).collect();
        assert_eq!(variables.len(), 3, "{shown:?}");
        assert_eq!(variables[0].value, EnvValue::Literal("1".to_owned()));
        assert_eq!(variables[1].value, EnvValue::FromHost("HTTPS_PROXY".to_owned()));
        assert_eq!(variables[2].value, EnvValue::FromHost("KEY".to_owned()));
    }
}
