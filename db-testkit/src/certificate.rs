//! The TLS certificate of a server.
//!
//! It is signed by an authority that is made for this server alone and whose key is discarded: no other certificate that its clients
//! trust can be made.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::Result;
use crate::error::Doing;
use crate::flavor::Program;
use crate::template::option;

/// Makes a certificate for 127.0.0.1 and `localhost` in this directory, and returns the options of a server that uses it.
pub(crate) fn make(program: &Program, directory: &Path) -> Result<Vec<OsString>> {
    let [authority, certificate, key] = made().map_err(std::io::Error::other).doing(|| "making a certificate".into())?;
    let files = [
        ("ssl-ca", ca(directory), authority),
        ("ssl-cert", directory.join("cert.pem"), certificate),
        ("ssl-key", directory.join("key.pem"), key),
    ];
    files
        .into_iter()
        .map(|(name, path, text)| {
            fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
            Ok(option(name, program.inside(&path)))
        })
        .collect()
}

/// The authority's certificate.
pub(crate) fn ca(directory: &Path) -> PathBuf {
    directory.join("ca.pem")
}

/// The authority's certificate, the server's, and the server's key, as PEM.
fn made() -> Result<[String; 3], rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "db-testkit");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["127.0.0.1".into(), "localhost".into()])?;
    params.distinguished_name.push(DnType::CommonName, "a throwaway server");
    let certificate = params.signed_by(&key, &authority)?;
    Ok([authority.pem(), certificate.pem(), key.serialize_pem()])
}
