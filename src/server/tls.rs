//! The server's certificate: reads the files, and reloads them without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::config::Tls;

/// Interval of checking the files. A Secret volume is updated by swapping symlinks, which file watches miss.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{field}: failed to read {path}: {source}")]
    Read {
        /// Path of the field that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The files are not a certificate and its key.
    #[error("server.tls: cannot be used: {0}")]
    Pair(#[source] rustls::Error),
}

/// A certificate and its key, reloaded from their files.
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    every: Duration,
    config: RustlsConfig,
    /// Digest of the files when they were last loaded.
    tried: Mutex<[u8; 32]>,
}

/// The contents of both files.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads the files of `tls`, if it is configured.
    pub async fn load(tls: &Tls) -> Result<Option<Self>, TlsError> {
        Self::load_every(tls, LOOK_EVERY).await
    }

    pub(super) async fn load_every(tls: &Tls, every: Duration) -> Result<Option<Self>, TlsError> {
        let (Some(chain), Some(key)) = (tls.certificate.clone(), tls.key.clone()) else {
            return Ok(None);
        };
        let pair = Pair::read(&chain, &key).await?;
        let tried = Mutex::new(pair.digest());
        let config = pair.config().map_err(TlsError::Pair)?;
        Ok(Some(Self {
            chain,
            key,
            every,
            config: RustlsConfig::from_config(Arc::new(config)),
            tried,
        }))
    }

    pub(super) fn acceptor(&self) -> RustlsAcceptor {
        RustlsAcceptor::new(self.config.clone())
    }

    /// Loads the files if they have changed. If they cannot be used, the last valid certificate stays in use: the two files
    /// do not change at the same time.
    pub(super) async fn refresh(&self) -> Result<(), TlsError> {
        let pair = Pair::read(&self.chain, &self.key).await?;
        let digest = pair.digest();
        let mut tried = self.tried.lock().await;
        if *tried == digest {
            return Ok(());
        }
        *tried = digest;
        let config = pair.config().map_err(TlsError::Pair)?;
        self.config.reload_from_config(Arc::new(config));
        tracing::info!(file = %self.chain.display(), "certificate reloaded");
        Ok(())
    }
}

impl Pair {
    async fn read(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = async |field, path: &Path| {
            let read = tokio::fs::read(path).await;
            read.map_err(|source| TlsError::Read {
                field,
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            certificate: read("server.tls.certificate", chain).await?,
            key: read("server.tls.key", key).await?,
        })
    }

    /// The certificate, and HTTP/1.1 as the only protocol: in HTTP/2 a response cannot close the connection, which a
    /// standby needs.
    fn config(&self) -> Result<ServerConfig, rustls::Error> {
        let unreadable = |error: pem::Error| rustls::Error::General(error.to_string());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unreadable)?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(Sha256::digest(&self.certificate));
        digest.update(Sha256::digest(&self.key));
        digest.finalize().into()
    }
}

/// Reloads the files of `certificate` periodically; never returns.
pub(super) async fn keep_fresh(certificate: Option<&Certificate>) {
    let Some(certificate) = certificate else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(certificate.every).await;
        if let Err(error) = certificate.refresh().await {
            tracing::warn!(%error, "failed to reload the certificate; keeping the last one");
        }
    }
}
