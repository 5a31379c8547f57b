//! HTTPS, and a certificate that changes while the server runs.

use std::path::Path;

use axum::http::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::config::Tls;

/// Name that the certificates are for.
const NAME: &str = "locksmith.test";

/// Writes a new certificate for [`NAME`] into the files of `tls`; returns it as PEM.
fn issue(tls: &Tls) -> String {
    let issued = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate = issued.cert.pem();
    std::fs::write(tls.certificate.as_ref().unwrap(), &certificate).unwrap();
    std::fs::write(
        tls.key.as_ref().unwrap(),
        issued.signing_key.serialize_pem(),
    )
    .unwrap();
    certificate
}

fn files(directory: &Path) -> Tls {
    // Installed once per process; another test may have done so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Tls {
        certificate: Some(directory.join("tls.crt")),
        key: Some(directory.join("tls.key")),
    }
}

/// Sends a request over a new connection that trusts only this certificate.
async fn trusting(certificate: &str, address: SocketAddr) -> reqwest::Result<StatusCode> {
    let certificate = reqwest::Certificate::from_pem(certificate.as_bytes())?;
    let client = reqwest::Client::builder()
        .tls_certs_only([certificate])
        .resolve(NAME, address)
        .build()?;
    let url = format!("https://{NAME}:{}/healthz", address.port());
    Ok(client.get(url).send().await?.status())
}

/// The protocol negotiated with a client that accepts HTTP/2, as Alertmanager does.
fn agreed(certificate: &str, address: SocketAddr) -> Option<Vec<u8>> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = NAME.try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    while client.is_handshaking() {
        client.complete_io(&mut stream).unwrap();
    }
    client.alpn_protocol().map(<[u8]>::to_vec)
}

#[tokio::test]
async fn changed_certificate_is_used_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    let first = issue(&tls);
    let certificate = Certificate::load_every(&tls, Duration::from_millis(20)).await;
    let certificate = certificate.unwrap().unwrap();
    let Face {
        router, shutdown, ..
    } = face(fixture::healthy(), Receiver::default());
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = server.address();
    let serving = tokio::spawn(server.serve(router, Some(certificate), shutdown.clone()));
    assert_eq!(trusting(&first, address).await.unwrap(), StatusCode::OK);

    let second = issue(&tls);
    let shown = async {
        while trusting(&second, address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown)
        .await
        .unwrap();
    assert!(trusting(&first, address).await.is_err());
    // Over HTTP/2, a standby could not send Alertmanager to another replica.
    let agreed = tokio::task::spawn_blocking(move || agreed(&second, address)).await;
    assert_eq!(agreed.unwrap().as_deref(), Some(&b"http/1.1"[..]));

    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn mismatched_certificate_and_key_are_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    issue(&tls);
    let certificate = Certificate::load(&tls).await.unwrap().unwrap();
    let key = std::fs::read(tls.key.as_ref().unwrap()).unwrap();
    issue(&tls);
    let other = std::fs::read(tls.key.as_ref().unwrap()).unwrap();
    std::fs::write(tls.key.as_ref().unwrap(), key).unwrap();
    let torn = certificate.refresh().await.unwrap_err().to_string();
    assert!(torn.starts_with("server.tls: cannot be used: "), "{torn}");
    std::fs::write(tls.key.as_ref().unwrap(), other).unwrap();
    certificate.refresh().await.unwrap();
}

#[tokio::test]
async fn unusable_certificate_files_are_named_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let tls = files(directory.path());
    let load = async || Certificate::load(&tls).await.err().unwrap().to_string();
    let missing = load().await;
    assert!(
        missing.starts_with("server.tls.certificate: failed to read ")
            && missing.contains("tls.crt"),
        "{missing}"
    );
    issue(&tls);
    std::fs::write(tls.key.as_ref().unwrap(), "no key").unwrap();
    let unusable = load().await;
    assert!(
        unusable.starts_with("server.tls: cannot be used: "),
        "{unusable}"
    );
    assert!(Certificate::load(&Tls::default()).await.unwrap().is_none());
}
