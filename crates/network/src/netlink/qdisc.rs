//! How fast packets leave a link: token buckets (tc-tbf).

use super::{CREATE, Message};

const NEWQDISC: u16 = 36;
const REPLACE: u16 = 0x100;
const ROOT: u32 = 0xffff_ffff;
const HANDLE: u32 = 1 << 16;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// Lengths are those of frames, for which the kernel needs no table (linux/pkt_sched.h).
const LINKLAYER_ETHERNET: u8 = 1;
/// The least bucket: two of the largest packets, as none that is larger than it is ever let through.
const LEAST: u64 = 2 << 16;
/// What fits into the kernel's numbers.
const MOST: u64 = 1 << 30;

/// Has a link send so many bits per second, and no more but for a burst of 10 ms. Packets wait for 50 ms at most.
pub fn limit(index: u32, bits_per_second: u64) -> Message {
    let rate = (bits_per_second / 8).max(1);
    let burst = (rate / 100).clamp(LEAST, MOST) as u32;
    let queue = (rate / 20).clamp(LEAST, MOST) as u32;
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&HANDLE.to_ne_bytes());
    header[12..16].copy_from_slice(&ROOT.to_ne_bytes());
    // struct tc_tbf_qopt: rate, peak rate, limit, buffer and MTU; the bucket's own attribute says its size in bytes.
    let mut options = [0; 36];
    options[1] = LINKLAYER_ETHERNET;
    options[8..12].copy_from_slice(&u32::try_from(rate).unwrap_or(u32::MAX).to_ne_bytes());
    options[24..28].copy_from_slice(&queue.to_ne_bytes());
    Message::new(NEWQDISC, CREATE | REPLACE, &header).text(TCA_KIND, "tbf").nest(TCA_OPTIONS, |options_of| {
        let limited = options_of.bytes(TCA_TBF_PARMS, &options).native(TCA_TBF_BURST, burst);
        if u32::try_from(rate).is_ok() { limited } else { limited.bytes(TCA_TBF_RATE64, &rate.to_ne_bytes()) }
    })
}
