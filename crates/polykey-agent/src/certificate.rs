//! X.509 certificates of the node key, for tools that want one.
//!
//! Nothing of ours reads them: nodes know each other by their keys. A node that took its key over from
//! another shows a chain: the former key vouches for the present one.

use polykey_core::sign::SigningKey;
use polykey_core::{NodeId, Timestamp, hash, label};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use time::{Duration, OffsetDateTime};

/// A certificate is valid for this long, and from a day before it is made: clocks differ.
const VALID: Duration = Duration::days(365);

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the certificate could not be made")]
pub struct CertificateError(#[from] rcgen::Error);

/// Certificates in PEM, leaf first: for the first of `keys` and for each former one behind it, signed by the
/// next; the last signs itself.
///
/// # Errors
/// [`CertificateError`].
pub fn chain(keys: &[&SigningKey], now: Timestamp) -> Result<Vec<String>, CertificateError> {
    let mut pems = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let issuer = keys.get(i + 1).unwrap_or(key);
        let (subject, signer) = (Ed25519::new(key), Ed25519::new(issuer));
        let params = params(&key.public(), now)?;
        let issuer = Issuer::new(self::params(&issuer.public(), now)?, signer);
        pems.push(params.signed_by(&subject, &issuer)?.pem());
    }
    Ok(pems)
}

fn params(node: &NodeId, now: Timestamp) -> Result<CertificateParams, CertificateError> {
    let id = node.to_string();
    let mut params = CertificateParams::new(vec![id.clone(), "127.0.0.1".to_owned(), "::1".to_owned()])?;
    params
        .subject_alt_names
        .push(SanType::URI(format!("pk://{id}").try_into()?));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, id);
    params.distinguished_name = name;
    let seconds = i64::try_from(now.as_millis() / 1000).unwrap_or_default();
    let from =
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH) - Duration::DAY;
    params.not_before = from;
    params.not_after = from + VALID;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let digest = hash::hash(
        label::CERTIFICATE_SERIAL,
        &[node.as_bytes(), &seconds.to_be_bytes()],
    );
    let mut serial = digest[..16].to_vec();
    // Positive, as RFC 5280, section 4.1.2.2, wants it.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from(serial));
    Ok(params)
}

struct Ed25519<'k> {
    key: &'k SigningKey,
    public: [u8; 32],
}

impl<'k> Ed25519<'k> {
    fn new(key: &'k SigningKey) -> Self {
        Ed25519 {
            key,
            public: *key.public().as_bytes(),
        }
    }
}

impl PublicKeyData for Ed25519<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Ed25519<'_> {
    /// A certificate starts with an ASN.1 sequence, which no label of ours does, so this signature passes for
    /// nothing else.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use polykey_core::Key;

    use super::*;

    #[test]
    fn a_chain_has_one_certificate_a_key() {
        let keys: Vec<_> = (1..4)
            .map(|i| SigningKey::from_seed(&Key::from_array([i; 32])))
            .collect();
        let keys: Vec<_> = keys.iter().collect();
        let pems = chain(&keys, Timestamp::from_millis(1_795_300_793_874)).expect("makes");
        assert_eq!(pems.len(), 3);
        for pem in &pems {
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
        }
        // Ed25519 signs the same way every time, so the bytes tell when something changes.
        assert_eq!(
            pems,
            chain(&keys, Timestamp::from_millis(1_795_300_793_999)).expect("makes")
        );
    }
}
