//! Whom we trust on the other end of `amqps://`, and who we say that we are.

use std::path::Path;

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Broker;

/// Reads the files of the settings, which may have been replaced since the last connection.
///
/// A CA file takes the place of the system's authorities: the bus of an organisation has one of its own, and then no
/// other should speak for its brokers.
pub fn connector(broker: &Broker) -> Result<RustlsConnector, String> {
    let trusted = match &broker.ca_file {
        Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(certificates(path)?),
        None => RustlsConnectorConfig::new_with_native_certs()
            .map_err(|e| format!("this machine trusts no authority ({e}); name the one of the broker with ca_file"))?,
    };
    let (Some(cert), Some(key)) = (&broker.cert_file, &broker.key_file) else {
        return trusted.connector_with_no_client_auth().map_err(|e| format!("cannot use TLS: {e}"));
    };
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| {
        format!("cannot read a private key, in PEM and without a passphrase, from {}: {e}", key.display())
    })?;
    trusted.connector_with_single_cert(chain, secret).map_err(|e| {
        format!("the certificate {} and the key {} do not go together: {e}", cert.display(), key.display())
    })
}

/// All certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let cannot = |e| format!("cannot read certificates, in PEM, from {}: {e}", path.display());
    let all: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(cannot)?;
    if all.is_empty() {
        return Err(format!("{} holds no certificate in PEM", path.display()));
    }
    Ok(all)
}
