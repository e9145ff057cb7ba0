//! A statement's text: what it may do to its transaction, and what is shown of it.
#![no_main]

use db_core::__fuzz::{may_commit, shown};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|sql: &str| {
    assert_eq!(may_commit(&sql.to_ascii_lowercase()), may_commit(&sql.to_ascii_uppercase()), "letter case matters");
    // A quoted name may hold anything.
    let once = shown(sql);
    if !sql.contains('`') {
        assert!(!once.contains(['\'', '"']), "a string is shown: {once:?}");
        let starts_a_number = |pair: &[u8]| pair[1].is_ascii_digit() && matches!(pair[0], b' ' | b'(' | b',' | b'=' | b'+');
        assert!(!once.as_bytes().windows(2).any(starts_a_number), "a number is shown: {once:?}");
    }
});
