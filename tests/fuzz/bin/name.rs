#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| locksmith_fuzz::run("name", data));
