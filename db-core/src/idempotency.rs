//! Idempotency keys, and the values that are stored under them.

use std::borrow::Cow;
use std::fmt;

use crate::{Error, ErrorKind, Result};

/// In bytes.
const LONGEST_KEY: usize = 255;

/// A key under which a call does its work once. See the [guide](crate::guide::idempotency).
///
/// It is text, bytes, a number or 16 bytes (a UUID), from 1 to 255 bytes long. A number is the same key as its decimal digits. It appears in no
/// error and in no `Debug`.
///
/// ```
/// use db_core::prelude::*;
///
/// # struct Payment { id: String, cents: i64 }
/// # #[allow(dead_code)]
/// #[transactional(idempotency_key = IdempotencyKey::new(&request.id).fingerprint(request.cents.to_le_bytes()).check_first(true))]
/// fn pay(tx: &mut Transaction<'_>, request: &Payment) -> db_core::Result<()> {
///     tx.exec_drop("INSERT INTO payment (cents) VALUES (?)", (request.cents,))
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct IdempotencyKey {
    bytes: Vec<u8>,
    function: Option<&'static str>,
    fingerprint: Option<Vec<u8>>,
    check_first: bool,
}

impl IdempotencyKey {
    /// A key of text, bytes, a number, or whatever else is [one](ToIdempotencyKey).
    pub fn new(key: &(impl ToIdempotencyKey + ?Sized)) -> Self {
        key.to_idempotency_key()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), function: None, fingerprint: None, check_first: false }
    }

    /// What tells the arguments of the call from others: their bytes in any encoding that stays the same. The server stores the SHA-256 of it.
    /// A later call with the key and another fingerprint ends in [`IdempotencyKeyReused`](ErrorKind::IdempotencyKeyReused). Default: none, and
    /// the arguments are not compared.
    pub fn fingerprint(mut self, arguments: impl AsRef<[u8]>) -> Self {
        self.fingerprint = Some(arguments.as_ref().into());
        self
    }

    /// Whether to look for the key before the body runs, for one more round trip. Default false: a body whose key is known already runs, and is
    /// rolled back. A nested call and a retry look first in any case.
    pub fn check_first(mut self, check_first: bool) -> Self {
        self.check_first = check_first;
        self
    }

    /// The name that the call is stored under, in place of the function's path: for a function that was renamed or moved while its keys are
    /// still in use.
    pub fn function(mut self, name: &'static str) -> Self {
        self.function = Some(name);
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn fingerprint_bytes(&self) -> Option<&[u8]> {
        self.fingerprint.as_deref()
    }

    pub(crate) fn checks_first(&self) -> bool {
        self.check_first
    }

    pub(crate) fn function_name(&self) -> Option<&'static str> {
        self.function
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = match self.bytes.len() {
            0 => "the idempotency key is empty".into(),
            len if len > LONGEST_KEY => Cow::from(format!("the idempotency key has {len} bytes, and may have {LONGEST_KEY}")),
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, wrong))
    }
}

impl fmt::Debug for IdempotencyKey {
    /// Without the key, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyKey").field("function", &self.function).field("check_first", &self.check_first).finish_non_exhaustive()
    }
}

/// What can be an [`IdempotencyKey`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an idempotency key",
    label = "a key is text, bytes, an integer, `[u8; 16]`, or an `IdempotencyKey`",
    note = "of a UUID, take `id.as_bytes()`"
)]
pub trait ToIdempotencyKey {
    /// The key.
    fn to_idempotency_key(&self) -> IdempotencyKey;
}

impl ToIdempotencyKey for IdempotencyKey {
    fn to_idempotency_key(&self) -> IdempotencyKey {
        self.clone()
    }
}

impl<T: ToIdempotencyKey + ?Sized> ToIdempotencyKey for &T {
    fn to_idempotency_key(&self) -> IdempotencyKey {
        (**self).to_idempotency_key()
    }
}

macro_rules! keys {
    ($($ty:ty: |$key:ident| $bytes:expr;)*) => {$(
        impl ToIdempotencyKey for $ty {
            fn to_idempotency_key(&self) -> IdempotencyKey {
                let $key = self;
                IdempotencyKey::of_bytes($bytes)
            }
        }
    )*};
}

keys! {
    str: |key| key.as_bytes();
    String: |key| key.as_bytes();
    Cow<'_, str>: |key| key.as_bytes();
    [u8]: |key| key;
    Vec<u8>: |key| key;
    [u8; 16]: |key| key;
    u8: |key| key.to_string().as_bytes();
    u16: |key| key.to_string().as_bytes();
    u32: |key| key.to_string().as_bytes();
    u64: |key| key.to_string().as_bytes();
    u128: |key| key.to_string().as_bytes();
    usize: |key| key.to_string().as_bytes();
    i8: |key| key.to_string().as_bytes();
    i16: |key| key.to_string().as_bytes();
    i32: |key| key.to_string().as_bytes();
    i64: |key| key.to_string().as_bytes();
    i128: |key| key.to_string().as_bytes();
    isize: |key| key.to_string().as_bytes();
}

/// What the `Ok` of a call with an idempotency key may be: what `serde` can write as JSON and read back, with the feature `idempotency`; without it,
/// `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored under an idempotency key",
    label = "derive `serde::Serialize` and `serde::Deserialize` for it, and turn on the feature `idempotency` of `db-core`",
    note = "without that feature, a function with an idempotency key returns `Ok(())`"
)]
pub trait StoredValue: Sized {
    #[doc(hidden)]
    fn to_stored(&self) -> Result<String>;

    #[doc(hidden)]
    fn from_stored(stored: &str) -> Result<Self>;
}

#[cfg(feature = "idempotency")]
#[diagnostic::do_not_recommend]
impl<T: serde::Serialize + serde::de::DeserializeOwned> StoredValue for T {
    fn to_stored(&self) -> Result<String> {
        // The words of serde_json may be the value's own.
        serde_json::to_string(self)
            .map_err(|_| Error::new(ErrorKind::Driver, "the value to be stored under the idempotency key cannot be JSON"))
    }

    fn from_stored(stored: &str) -> Result<Self> {
        serde_json::from_str(stored).map_err(|_| does_not_convert())
    }
}

#[cfg(not(feature = "idempotency"))]
impl StoredValue for () {
    fn to_stored(&self) -> Result<String> {
        Ok("null".into())
    }

    fn from_stored(stored: &str) -> Result<Self> {
        if stored == "null" { Ok(()) } else { Err(does_not_convert()) }
    }
}

fn does_not_convert() -> Error {
    Error::new(ErrorKind::Driver, "the value stored under the idempotency key does not convert to the function's return type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bytes_and_numbers_are_keys() {
        let bytes = |key: &dyn ToIdempotencyKey| key.to_idempotency_key().bytes;
        assert_eq!(bytes(&"a"), b"a");
        assert_eq!(bytes(&String::from("a")), b"a");
        assert_eq!(bytes(&&*vec![0, 255]), [0, 255]);
        assert_eq!(bytes(&[7_u8; 16]), [7; 16]);
        assert_eq!((bytes(&-7_i64), bytes(&7_u8)), (b"-7".to_vec(), b"7".to_vec()));
        assert_eq!(bytes(&IdempotencyKey::new("a").check_first(true)), b"a");
    }

    #[test]
    fn a_key_has_from_1_to_255_bytes() {
        let kind = |len: usize| IdempotencyKey::new(&vec![1; len]).check().err().map(|error| error.kind());
        assert_eq!([0, 1, 255, 256].map(kind), [Some(ErrorKind::Config), None, None, Some(ErrorKind::Config)]);
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = IdempotencyKey::new("hunter2").fingerprint("hunter3");
        assert!(!format!("{key:?}").contains("hunter"), "{key:?}");
        let error = IdempotencyKey::new(&"hunter2".repeat(100)).check().expect_err("too long");
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
    }
}
