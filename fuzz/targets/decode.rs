//! Bodies in JSON and YAML, of any built-in kind: the first two bytes say which kind, the third which format.

#![no_main]

use coracle_api::decode::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [high, low, format, body @ ..] = data else { return };
    let kind = coracle_fuzz::kind(u16::from_be_bytes([*high, *low]));
    let format = if format % 2 == 0 { Format::Json } else { Format::Yaml };
    coracle_fuzz::take(kind, body, format);
});
