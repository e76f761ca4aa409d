//! Randomness and clocks that depend on the seed alone.
//!
//! What draws random numbers or reads clocks in a node is mostly not our code:
//! the order of a `HashMap`, tokio's `select!`, openraft's election timeouts,
//! h2's ages of streams. All of them end in two functions of the C library. A
//! program may define these itself, and then its own ones are called: this is
//! where. Only this program is affected, and it does nothing but simulate.

#![allow(
    unsafe_code,
    reason = "two functions of the C library are replaced, which have raw pointers"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, Timespec};

/// What the monotonic clock shows when a simulation begins; early enough to be
/// subtracted from.
const START: Duration = Duration::from_secs(1_000_000);
/// What the wall clock shows then: some day in 2026.
const EPOCH: Duration = Duration::from_secs(1_790_000_000);

static STATE: AtomicU64 = AtomicU64::new(0);
static SIMULATED: AtomicBool = AtomicBool::new(false);
static ELAPSED_NS: AtomicU64 = AtomicU64::new(0);

/// From here on everything in this process is drawn from `seed`, and its clocks
/// show what [`set_elapsed`] says.
pub(crate) fn begin(seed: u64) {
    STATE.store(seed, Ordering::SeqCst);
    SIMULATED.store(true, Ordering::SeqCst);
}

pub(crate) fn set_elapsed(elapsed: Duration) {
    let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    ELAPSED_NS.store(elapsed, Ordering::SeqCst);
}

/// What the machine's own wall clock shows, whatever is simulated.
pub(crate) fn real_now() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The next number (splitmix64).
fn next() -> u64 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
    mixed(state.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

pub(crate) fn mixed(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `getrandom(2)`.
///
/// # Safety
/// As the C library's: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    // SAFETY: the caller says that the buffer has room for that.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next().to_le_bytes()[..chunk.len()]);
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}

/// `clock_gettime(2)`.
///
/// # Safety
/// As the C library's: `time` has room for a `timespec`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let is_wall = clock == ClockId::Realtime as c_int;
    let now = if SIMULATED.load(Ordering::SeqCst) {
        let start = if is_wall { EPOCH } else { START };
        let now = start + Duration::from_nanos(ELAPSED_NS.load(Ordering::SeqCst));
        Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(now.subsec_nanos()),
        }
    } else if is_wall {
        rustix::time::clock_gettime(ClockId::Realtime)
    } else {
        rustix::time::clock_gettime(ClockId::Monotonic)
    };
    // SAFETY: the caller says that it has room for one.
    unsafe { time.write(now) };
    0
}
