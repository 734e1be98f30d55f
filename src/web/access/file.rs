//! The web configuration file, in the format of Prometheus' exporter-toolkit (docs/web-configuration.md of
//! github.com/prometheus/exporter-toolkit).
//!
//! What we do not do is refused instead of ignored: a setting of security that has no effect is worse than none.

use std::path::{Path, PathBuf};

use axum::http::{HeaderName, HeaderValue};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};

use super::users;
use crate::domain::foreign::ForeignText;

/// Largest file that is read. It holds a few lines for each user.
const MAX_BYTES: u64 = 1 << 20;
/// The headers that the format allows.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// What the file says.
#[derive(Default)]
pub(super) struct WebFile {
    pub(super) tls: Option<TlsFile>,
    /// Users with the bcrypt hashes of their passwords.
    pub(super) users: Vec<(String, String)>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) http2: bool,
}

/// The table `tls_server_config`.
#[derive(Debug)]
pub(super) struct TlsFile {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) client_auth: ClientAuth,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) min_version: TlsVersion,
    pub(super) max_version: TlsVersion,
    /// Names of cipher suites of TLS 1.2; empty for the usual ones. Those of TLS 1.3 cannot be chosen.
    pub(super) cipher_suites: Vec<String>,
    /// Names of curves; empty for the usual ones.
    pub(super) curves: Vec<String>,
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClientAuth {
    None,
    IfGiven,
    Required,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsFile {
    /// All files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert_file, &self.key_file].into_iter().chain(&self.client_ca_file)
    }
}

impl WebFile {
    /// Reads a file. The paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// Every fault. None quotes a hash.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<String>> {
        let unreadable = |reason: String| vec![format!("{}: {reason}", path.display())];
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > MAX_BYTES {
            return Err(unreadable("it is larger than 1 MB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(|faults| {
            faults.into_iter().map(|fault| format!("{}: {fault}", path.display())).collect()
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<String>> {
        let documents = Yaml::load_from_str(text).map_err(|error| {
            let mark = error.marker();
            vec![format!("not valid YAML in line {}, column {}", mark.line(), mark.col() + 1)]
        })?;
        let mut faults = Faults::default();
        let mut file = Self { http2: true, ..Self::default() };
        let root = match &documents[..] {
            [] => return Ok(file),
            [root] => root,
            _ => return Err(vec!["more than one YAML document".to_owned()]),
        };
        for (key, node) in
            faults.table("", root, &["tls_server_config", "http_server_config", "basic_auth_users"])
        {
            match key {
                "tls_server_config" => file.tls = faults.tls(node, folder),
                "http_server_config" => faults.http(node, &mut file),
                _ => file.users = faults.users(node),
            }
        }
        if faults.0.is_empty() { Ok(file) } else { Err(faults.0) }
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn report(&mut self, key: &str, message: &str) {
        self.0.push(format!("{key}: {message}"));
    }

    /// Returns the known keys of a table with their values. `prefix` is its own key with a dot behind it.
    fn table<'a>(
        &mut self,
        prefix: &str,
        node: &'a Yaml<'_>,
        known: &[&str],
    ) -> Vec<(&'a str, &'a Yaml<'a>)> {
        let entries = self.entries(prefix, node);
        entries.into_iter().filter(|(key, _)| self.is_known(prefix, key, known)).collect()
    }

    fn is_known(&mut self, prefix: &str, key: &str, known: &[&str]) -> bool {
        if known.contains(&key) {
            return true;
        }
        let key = format!("{prefix}{}", ForeignText::from(key));
        self.report(&key, &format!("unknown key; there are {}", known.join(", ")));
        false
    }

    /// Returns all keys of a table with their values. A key without a value is left out.
    fn entries<'a>(&mut self, prefix: &str, node: &'a Yaml<'_>) -> Vec<(&'a str, &'a Yaml<'a>)> {
        let name = if prefix.is_empty() { "the file" } else { prefix.trim_end_matches('.') };
        let map = match node {
            Yaml::Mapping(map) => map,
            Yaml::Value(Scalar::Null) => return Vec::new(),
            _ => {
                self.report(name, "is not a table of keys and values");
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for (key, value) in map {
            match key.as_str() {
                Some(_) if value.is_null() => {}
                Some(key) => entries.push((key, value)),
                None => self.report(name, "a key is not a text; write it in quotes"),
            }
        }
        entries
    }

    fn text<'a>(&mut self, key: &str, node: &'a Yaml<'_>) -> Option<&'a str> {
        let text = node.as_str().filter(|text| !text.is_empty());
        if text.is_none() {
            self.report(key, "is not a text");
        }
        text
    }

    fn boolean(&mut self, key: &str, node: &Yaml<'_>) -> Option<bool> {
        let yes = node.as_bool();
        if yes.is_none() {
            self.report(key, "is not true or false");
        }
        yes
    }

    fn texts(&mut self, key: &str, node: &Yaml<'_>) -> Vec<String> {
        let items = node.as_sequence().into_iter().flatten();
        let texts: Option<Vec<_>> = items.map(|item| item.as_str().map(str::to_owned)).collect();
        match texts {
            Some(texts) if node.is_sequence() => texts,
            _ => {
                self.report(key, "is not a list of texts");
                Vec::new()
            }
        }
    }

    fn tls(&mut self, node: &Yaml<'_>, folder: &Path) -> Option<TlsFile> {
        const KNOWN: [&str; 11] = [
            "cert_file",
            "key_file",
            "client_auth_type",
            "client_ca_file",
            "min_version",
            "max_version",
            "cipher_suites",
            "curve_preferences",
            "prefer_server_cipher_suites",
            "client_allowed_sans",
            "client_ca",
        ];
        let (mut cert, mut key, mut ca) = (None, None, None);
        let mut client_auth = ClientAuth::None;
        let (mut min_version, mut max_version) = (TlsVersion::Tls12, TlsVersion::Tls13);
        let (mut cipher_suites, mut curves) = (Vec::new(), Vec::new());
        let before = self.0.len();
        for (name, value) in self.table("tls_server_config.", node, &KNOWN) {
            let path = &format!("tls_server_config.{name}");
            match name {
                "cert_file" => cert = self.text(path, value).map(|file| folder.join(file)),
                "key_file" => key = self.text(path, value).map(|file| folder.join(file)),
                "client_ca_file" => ca = self.text(path, value).map(|file| folder.join(file)),
                "client_auth_type" => client_auth = self.client_auth(path, value).unwrap_or(client_auth),
                "min_version" => min_version = self.version(path, value).unwrap_or(min_version),
                "max_version" => max_version = self.version(path, value).unwrap_or(max_version),
                "cipher_suites" => cipher_suites = self.texts(path, value),
                "curve_preferences" => curves = self.texts(path, value),
                // Both sides' order is that of strength here, so there is nothing to prefer.
                "prefer_server_cipher_suites" => drop(self.boolean(path, value)),
                "client_allowed_sans" => self.report(
                    path,
                    "is not supported; let a CA that issues certificates to these clients only be the client_ca_file",
                ),
                _ => self.report(path, "is not supported; name a file in client_ca_file"),
            }
        }
        for (name, found) in [("cert_file", &cert), ("key_file", &key)] {
            if found.is_none() && self.0.len() == before {
                self.report(&format!("tls_server_config.{name}"), "is missing");
            }
        }
        match (client_auth, &ca) {
            (ClientAuth::IfGiven | ClientAuth::Required, None) => {
                self.report("tls_server_config.client_ca_file", "is missing; client_auth_type needs it");
            }
            (ClientAuth::None, Some(_)) => self.report(
                "tls_server_config.client_ca_file",
                "has no effect unless client_auth_type is VerifyClientCertIfGiven or RequireAndVerifyClientCert",
            ),
            _ => {}
        }
        if min_version > max_version {
            self.report("tls_server_config.min_version", "is above max_version");
        }
        Some(TlsFile {
            cert_file: cert?,
            key_file: key?,
            client_auth,
            client_ca_file: ca,
            min_version,
            max_version,
            cipher_suites,
            curves,
        })
    }

    fn client_auth(&mut self, key: &str, node: &Yaml<'_>) -> Option<ClientAuth> {
        match self.text(key, node)? {
            "NoClientCert" => Some(ClientAuth::None),
            "VerifyClientCertIfGiven" => Some(ClientAuth::IfGiven),
            "RequireAndVerifyClientCert" => Some(ClientAuth::Required),
            "RequestClientCert" | "RequireAnyClientCert" => {
                self.report(
                    key,
                    "would take certificates that nobody has verified, which prove nothing; write \
                     VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                );
                None
            }
            _ => {
                self.report(
                    key,
                    "must be NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                );
                None
            }
        }
    }

    fn version(&mut self, key: &str, node: &Yaml<'_>) -> Option<TlsVersion> {
        match self.text(key, node)? {
            "TLS12" => Some(TlsVersion::Tls12),
            "TLS13" => Some(TlsVersion::Tls13),
            "TLS10" | "TLS11" => {
                self.report(key, "is broken (RFC 8996); write TLS12 or TLS13");
                None
            }
            _ => {
                self.report(key, "must be TLS12 or TLS13");
                None
            }
        }
    }

    fn http(&mut self, node: &Yaml<'_>, file: &mut WebFile) {
        for (name, value) in self.table("http_server_config.", node, &["http2", "headers"]) {
            if name == "http2" {
                file.http2 = self.boolean("http_server_config.http2", value).unwrap_or(true);
                continue;
            }
            for (name, value) in self.table("http_server_config.headers.", value, &HEADERS) {
                let key = format!("http_server_config.headers.{name}");
                let Some(text) = self.text(&key, value) else { continue };
                match (name.parse::<HeaderName>(), HeaderValue::from_str(text)) {
                    (Ok(name), Ok(value)) => file.headers.push((name, value)),
                    _ => self.report(&key, "is not a valid value of a header"),
                }
            }
        }
    }

    fn users(&mut self, node: &Yaml<'_>) -> Vec<(String, String)> {
        let mut users = Vec::new();
        for (name, value) in self.entries("basic_auth_users.", node) {
            let key = format!("basic_auth_users.{}", ForeignText::from(name));
            match value.as_str().map(users::check_hash) {
                Some(Ok(hash)) => users.push((name.to_owned(), hash.to_owned())),
                Some(Err(fault)) => self.report(&key, fault),
                None => self.report(&key, "is not a text; it must be the bcrypt hash of a password"),
            }
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$05$/FAH9Dcfri7R4kT7xXiafelD6yho/MOrl4GHsKdX3L99mnJ4UpMVi";

    fn parse(text: &str) -> Result<WebFile, Vec<String>> {
        WebFile::parse(text, Path::new("/etc/web"))
    }

    #[test]
    fn paths_are_relative_to_the_folder_of_the_file() {
        let text = "tls_server_config:\n  cert_file: a.pem\n  key_file: /b.pem\n";
        let tls = parse(text).unwrap().tls.unwrap();
        assert_eq!((tls.cert_file, tls.key_file), ("/etc/web/a.pem".into(), "/b.pem".into()));
        assert_eq!((tls.client_auth, tls.min_version), (ClientAuth::None, TlsVersion::Tls12));
    }

    #[test]
    fn an_empty_file_and_empty_tables_say_nothing() {
        for text in ["", "# nothing\n", "basic_auth_users:\nhttp_server_config:\n", "{}"] {
            let file = parse(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
            assert!(file.tls.is_none() && file.users.is_empty() && file.http2, "{text}");
        }
    }

    #[test]
    fn users_and_headers_are_read() {
        let text = format!(
            "basic_auth_users:\n  \"prometheus\": {HASH}\nhttp_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"
        );
        let file = parse(&text).unwrap();
        assert_eq!(file.users, [("prometheus".to_owned(), HASH.to_owned())]);
        assert_eq!((file.headers.len(), file.http2), (1, false));
    }

    #[test]
    fn every_fault_names_its_key_and_what_would_be_right() {
        let tls = |line: &str| format!("tls_server_config:\n  cert_file: c\n  key_file: k\n  {line}\n");
        for (text, expected) in [
            ("a: [".to_owned(), "not valid YAML in line"),
            ("tls_config: {}".to_owned(), "tls_config: unknown key; there are tls_server_config"),
            ("[]".to_owned(), "the file: is not a table"),
            ("tls_server_config:\n  key_file: k\n".to_owned(), "tls_server_config.cert_file: is missing"),
            (tls("min_version: TLS11"), "tls_server_config.min_version: is broken"),
            (tls("min_version: TLS13\n  max_version: TLS12"), "min_version: is above max_version"),
            (tls("client_auth_type: RequireAnyClientCert"), "nobody has verified"),
            (tls("client_auth_type: RequireAndVerifyClientCert"), "client_ca_file: is missing"),
            (tls("client_ca_file: x"), "client_ca_file: has no effect"),
            (tls("client_allowed_sans: [x]"), "client_allowed_sans: is not supported"),
            (tls("cipher_suites: x"), "cipher_suites: is not a list of texts"),
            ("basic_auth_users:\n  a: hunter2\n".to_owned(), "basic_auth_users.a: is not a bcrypt hash"),
            ("basic_auth_users:\n  1: x\n".to_owned(), "a key is not a text"),
            (
                "http_server_config:\n  headers:\n    Server: x\n".to_owned(),
                "headers.Server: unknown key; there are Content-Security-Policy",
            ),
            (
                "http_server_config:\n  http2: 1\n".to_owned(),
                "http_server_config.http2: is not true or false",
            ),
            ("rate_limit:\n  burst: 1\n".to_owned(), "rate_limit: unknown key"),
        ] {
            let faults = parse(&text).err().unwrap_or_default().join("; ");
            assert!(faults.contains(expected) && !faults.contains("hunter2"), "{text}: {faults:?}");
        }
    }
}
