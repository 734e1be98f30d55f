//! TLS of the web port, as the web configuration file wants it.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::file::{ClientAuth, TlsFile, TlsVersion};

/// Reads the certificates and makes the configuration of connections. With `at_request`, a connection needs no
/// certificate even if clients do, because each request is checked.
///
/// # Errors
///
/// What is wrong, with the key and the file.
pub(super) fn server_config(tls: &TlsFile, http2: bool, at_request: bool) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider(tls)?);
    let versions = [(TlsVersion::Tls12, &version::TLS12), (TlsVersion::Tls13, &version::TLS13)];
    let range = tls.min_version..=tls.max_version;
    let versions: Vec<&'static SupportedProtocolVersion> =
        versions.into_iter().filter(|(version, _)| range.contains(version)).map(|(_, it)| it).collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match (tls.client_auth, &tls.client_ca_file) {
        (ClientAuth::None, _) | (_, None) => builder.with_no_client_auth(),
        (auth, Some(file)) => {
            let fault =
                |reason: String| format!("tls_server_config.client_ca_file: {}: {reason}", file.display());
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file).map_err(fault)? {
                roots.add(certificate).map_err(|error| fault(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if auth == ClientAuth::IfGiven || at_request {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fault(error.to_string()))?)
        }
    };
    let own = certificates(&tls.cert_file)
        .map_err(|reason| format!("tls_server_config.cert_file: {}: {reason}", tls.cert_file.display()))?;
    let of_key = |reason: String| format!("tls_server_config.key_file: {}: {reason}", tls.key_file.display());
    // The error of the parser does not quote the file.
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|error| of_key(error.to_string()))?;
    let mut config = builder.with_single_cert(own, key).map_err(|error| of_key(error.to_string()))?;
    config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("it has no certificate".to_owned()) } else { Ok(certificates) }
}

/// Returns the cryptography with the cipher suites and curves that the file allows.
fn provider(tls: &TlsFile) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    let is_1_3 = |suite: &rustls::SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
    if !tls.cipher_suites.is_empty() {
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        // Go knows two of them by a shorter name as well.
        let wanted: Vec<_> =
            tls.cipher_suites
                .iter()
                .map(|name| {
                    if name.ends_with("CHACHA20_POLY1305") { format!("{name}_SHA256") } else { name.clone() }
                })
                .collect();
        let known: Vec<_> = provider.cipher_suites.iter().map(name).collect();
        // Go's names of the suites of TLS 1.3, which it lists but does not let anyone choose.
        let unknown = wanted.iter().find(|wanted| !known.contains(wanted) && !is_name_of_1_3(wanted));
        if let Some(unknown) = unknown {
            let choices: Vec<_> = provider.cipher_suites.iter().filter(|it| !is_1_3(it)).map(name).collect();
            return Err(format!(
                "tls_server_config.cipher_suites: `{unknown}` is not supported; there are {}",
                choices.join(", ")
            ));
        }
        provider.cipher_suites.retain(|suite| is_1_3(suite) || wanted.contains(&name(suite)));
        if !provider.cipher_suites.iter().any(|it| !is_1_3(it)) && tls.max_version == TlsVersion::Tls12 {
            return Err("tls_server_config.cipher_suites: none of them is of TLS 1.2".to_owned());
        }
    }
    if !tls.curves.is_empty() {
        let group = |name: &String| -> Result<&'static dyn SupportedKxGroup, String> {
            match name.as_str() {
                "X25519" => Ok(aws_lc_rs::kx_group::X25519),
                "CurveP256" => Ok(aws_lc_rs::kx_group::SECP256R1),
                "CurveP384" => Ok(aws_lc_rs::kx_group::SECP384R1),
                "X25519MLKEM768" => Ok(aws_lc_rs::kx_group::X25519MLKEM768),
                other => Err(format!(
                    "tls_server_config.curve_preferences: `{other}` is not supported; there are X25519, CurveP256, \
                     CurveP384 and X25519MLKEM768"
                )),
            }
        };
        provider.kx_groups = tls.curves.iter().map(group).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn is_name_of_1_3(name: &str) -> bool {
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"].contains(&name)
}
