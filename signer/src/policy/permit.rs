//! Which requests a release key may answer.

use super::{Refusal, ReleasePolicy};
use crate::{
    request::{Format, Request},
    vocabulary::Role,
};

impl ReleasePolicy {
    /// Whether an artifact of the request's role, made by this policy, could have asked this.
    ///
    /// To be asked by whoever answers for others: what signs for itself plans its requests from the policy.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoReleaseKey`], or [`Refusal::Request`] for another algorithm than the role's, a digest of
    /// another hash, or a format that does not belong to the role.
    pub fn permit_request(&self, request: &Request) -> Result<(), Refusal> {
        let role = request.role;
        self.key(role)?;
        let refuse = |reason: String| Err(Refusal::Request { role, reason });
        let algorithm = self.role(role).algorithm();
        if request.algorithm != algorithm {
            return refuse(format!("it signs with {algorithm}, and not with {}", request.algorithm));
        }
        if request.digest.algorithm() != algorithm.hash {
            return refuse(format!(
                "its digests are {}, and this is one of {}",
                algorithm.hash,
                request.digest.algorithm()
            ));
        }
        if !belongs(request.subject.format, role) {
            let format = serde_json::to_string(&request.subject.format).unwrap_or_default();
            return refuse(format!("it signs nothing of format {format}"));
        }
        Ok(())
    }
}

/// Whether artifacts of `role` have signatures of `format`.
fn belongs(format: Format, role: Role) -> bool {
    match format {
        Format::Fit => matches!(role, Role::Bootloader | Role::Fit),
        Format::Verity => role == Role::Rootfs,
        Format::Swu => role == Role::Update,
        // `sign blob` takes any role.
        Format::Blob => true,
        // A key certifies itself where its token is, before it is pinned.
        Format::Certificate => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, ReleaseKey, ReleaseSettings},
        crypto::{HashAlgorithm, Scheme, SignatureAlgorithm},
        policy::{Mode, Policy},
        request::Subject,
    };

    fn policy(roles: &[Role]) -> ReleasePolicy {
        let key = ReleaseKey {
            token: "t".into(),
            uri: "pkcs11:token=t;object=o".into(),
            pins: Vec::new(),
            serial: None,
            certificate: None,
            chain: Vec::new(),
            accept_imported: false,
        };
        let keys = roles.iter().map(|role| (*role, key.clone())).collect();
        let release = ReleaseSettings { keys, rehearsal: false };
        let config = Config { release: Some(release), ..Config::default() };
        match Policy::new(Mode::Release, config).unwrap() {
            Policy::Release(policy) => policy,
            other => panic!("{other:?}"),
        }
    }

    fn request(role: Role, format: Format, scheme: Scheme, hash: HashAlgorithm) -> Request {
        Request {
            role,
            algorithm: SignatureAlgorithm { scheme, hash },
            digest: hash.digest(b"x"),
            message: None,
            subject: Subject { format, name: "n".into(), identity: "i".into() },
        }
    }

    #[test]
    fn each_role_has_its_formats() {
        let policy = policy(&Role::ALL);
        let all = [Format::Fit, Format::Verity, Format::Swu, Format::Blob, Format::Certificate];
        let permitted = |role| {
            let ask = |format| request(role, format, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
            all.into_iter().filter(|f| policy.permit_request(&ask(*f)).is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(permitted(Role::Bootloader), [Format::Fit, Format::Blob]);
        assert_eq!(permitted(Role::Fit), [Format::Fit, Format::Blob]);
        assert_eq!(permitted(Role::Rootfs), [Format::Verity, Format::Blob]);
        assert_eq!(permitted(Role::Update), [Format::Swu, Format::Blob]);
    }

    #[test]
    fn another_algorithm_hash_or_role_is_refused() {
        let policy = policy(&[Role::Fit]);
        let ask = |role, scheme, hash| policy.permit_request(&request(role, Format::Fit, scheme, hash));
        assert!(ask(Role::Fit, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256).is_ok());
        assert!(ask(Role::Fit, Scheme::RsaPss, HashAlgorithm::Sha256).is_err());
        assert!(ask(Role::Fit, Scheme::RsaPkcs1v15, HashAlgorithm::Sha512).is_err());
        assert_eq!(
            ask(Role::Bootloader, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256),
            Err(Refusal::NoReleaseKey(Role::Bootloader))
        );
        let mut crossed = request(Role::Fit, Format::Fit, Scheme::RsaPkcs1v15, HashAlgorithm::Sha256);
        crossed.digest = HashAlgorithm::Sha384.digest(b"x");
        assert!(policy.permit_request(&crossed).unwrap_err().to_string().contains("sha384"));
    }
}
