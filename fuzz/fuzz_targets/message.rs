//! A server's error message: what is shown of it, and what it names.
#![no_main]

use db_core::Error;
use db_core::mysql::{self, MySqlError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, String)| {
    let (code, message) = input;
    let error = Error::from(mysql::Error::MySqlError(MySqlError { state: "HY000".into(), code, message }));
    let shown = error.to_string();
    assert!(!shown.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{shown:?}");
    assert!(shown.len() < 16_384, "{} bytes", shown.len());
    let _ = format!("{error:?} {:?}", error.constraint());
});
