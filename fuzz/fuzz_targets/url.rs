//! A database URL: what is wrong with it is said without the password.
#![no_main]

use db_core::__fuzz::url;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (before, after, rest) = input;
    let _ = url(before);
    if let Err(error) = url(&format!("mysql://user:{before}swordfish{after}@{rest}")) {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("swordfish"), "{text}");
    }
});
