//! A test CA: creates certificates, keys and kubeconfigs as files.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// A certificate and its key, in two PEM files.
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
}

/// The CA of a testbed.
pub struct Ca {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new CA, whose certificate is `ca.crt` in `directory`.
    pub fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().expect("failed to make the CA's key");
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("locksmith testbed", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).expect("failed to sign the CA");
        let ca = Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(params, key),
        };
        write(&ca.certificate(), &certificate.pem());
        ca
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// A server's certificate for 127.0.0.1.
    pub fn server(&self, file: &str) -> Pair {
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from);
        let params = CertificateParams::new(names).expect("failed to name the server");
        self.sign(file, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate: CN is the user and O the group in Kubernetes.
    pub fn client(&self, file: &str, user: &str, group: Option<&str>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(user, group);
        self.sign(file, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A key pair for tokens: `<file>.key` signs them, and `<file>.pub` verifies them.
    pub fn token_keys(&self, file: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("failed to make a key");
        let path = |extension: &str| self.directory.join(format!("{file}.{extension}"));
        let (private, public) = (path("key"), path("pub"));
        write(&private, &key.serialize_pem());
        write(&public, &key.public_key_pem());
        (private, public)
    }

    fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Pair {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("failed to make a key");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("failed to sign a certificate");
        let path = |extension: &str| self.directory.join(format!("{file}.{extension}"));
        let pair = Pair {
            certificate: path("crt"),
            key: path("key"),
        };
        write(&pair.certificate, &certificate.pem());
        write(&pair.key, &key.serialize_pem());
        pair
    }
}

/// Credential of a user in a kubeconfig.
pub enum Credential {
    /// A client certificate.
    Certificate(Pair),
    /// A service account's token.
    Token(String),
    /// A token in a file.
    TokenFile(PathBuf),
}

/// Writes `<file>.kubeconfig`, which both kubectl and `kube` read (JSON is YAML).
pub fn kubeconfig(ca: &Ca, file: &str, port: u16, credential: &Credential) -> PathBuf {
    let user = match credential {
        Credential::Certificate(pair) => {
            json!({"client-certificate": pair.certificate, "client-key": pair.key})
        }
        Credential::Token(token) => json!({"token": token}),
        Credential::TokenFile(file) => json!({"tokenFile": file}),
    };
    let cluster = json!({"server": format!("https://127.0.0.1:{port}"), "certificate-authority": ca.certificate()});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": file, "user": user}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": file}}],
        "current-context": "testbed",
    });
    let path = ca.directory.join(format!("{file}.kubeconfig"));
    write(&path, &format!("{config:#}\n"));
    path
}

fn distinguished_name(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text)
        .unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
}
