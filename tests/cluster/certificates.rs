//! The authority of a cluster and what it signs. Its key stays in memory: nothing can be signed
//! once the cluster is up.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::run::Run;

/// The one authority of a run.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as files.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one; its certificate is `ca.crt`.
    pub fn make(run: &Run) -> Result<Self> {
        let mut params = params("mayfly-test", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        run.write("ca.crt", issuer.pem())?;
        Ok(Self(issuer))
    }

    /// Signs for a client: a user, and the group that says what it is.
    pub fn client(&self, run: &Run, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = params(user, group, &[])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(run, &user.replace(':', "-"), &params)
    }

    /// Signs for a server known by these names and addresses.
    pub fn server(&self, run: &Run, name: &str, known_as: &[&str]) -> Result<Identity> {
        let mut params = params(name, None, known_as)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(run, name, &params)
    }

    fn sign(&self, run: &Run, name: &str, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        Ok(Identity {
            certificate: run.write(&format!("{name}.crt"), certificate.pem())?,
            key: run.write(&format!("{name}.key"), key.serialize_pem())?,
        })
    }
}

/// The keys of service accounts' tokens: one signs, the other verifies.
pub struct TokenKeys {
    pub signing: PathBuf,
    pub verifying: PathBuf,
}

impl TokenKeys {
    /// New ones.
    pub fn make(run: &Run) -> Result<Self> {
        let key = KeyPair::generate()?;
        Ok(Self {
            signing: run.write("service-accounts.key", key.serialize_pem())?,
            verifying: run.write("service-accounts.pub", key.public_key_pem())?,
        })
    }
}

fn params(name: &str, group: Option<&str>, known_as: &[&str]) -> Result<CertificateParams> {
    let known_as: Vec<_> = known_as.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(known_as)?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}
