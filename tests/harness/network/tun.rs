//! A TUN device: the end of a line in one namespace, whose packets this process
//! reads and writes.
//!
//! `unsafe` is for one call alone: the kernel takes the name of a device by an
//! `ioctl`, for which no safe call exists. It reads a structure of 40 bytes that
//! lives as long as the call, and keeps no pointer to it.
#![allow(
    unsafe_code,
    reason = "TUNSETIFF is an ioctl; see above what makes it sound"
)]

use std::fs::File;

use anyhow::{Context, Result, ensure};
use rustix::ioctl::{Setter, ioctl, opcode};

/// `TUNSETIFF`, which is declared with an `int` and takes a `struct ifreq`.
const SET_INTERFACE: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
/// `IFF_TUN | IFF_NO_PI`: IP packets with nothing before them.
const FLAGS: i16 = 0x0001 | 0x1000;
/// `IFNAMSIZ`, with the zero at its end.
const NAME_BYTES: usize = 16;

/// `struct ifreq`, as far as it is used here.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: i16,
    rest: [u8; 22],
}

/// Makes a device in the namespace of this thread; it lasts until the file is
/// closed.
///
/// # Errors
/// When the kernel lets this process make none.
pub(super) fn open(name: &str) -> Result<File> {
    ensure!(
        name.len() < NAME_BYTES,
        "{name} is too long for an interface"
    );
    let tun = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("open /dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; NAME_BYTES],
        flags: FLAGS,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the request is a whole `struct ifreq`, which the kernel copies in and
    // out during the call, and the number is that of this call.
    let set = unsafe {
        let call = Setter::<SET_INTERFACE, InterfaceRequest>::new(request);
        ioctl(&tun, call)
    };
    set.with_context(|| format!("make the interface {name}"))?;
    Ok(tun)
}
