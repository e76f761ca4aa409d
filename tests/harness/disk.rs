//! A node's disk: an ext4 file system in an image file, mounted by a loop
//! device, whose power can be cut.
//!
//! A cut (`EXT4_IOC_SHUTDOWN` without a flush of the journal) keeps what was
//! synced and loses what was only in memory, and nothing can be written until
//! the image is mounted again. It loses no write that the device had taken, as
//! a disk with a volatile cache may.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{as_root, run};
use crate::wait::wait_until;

const DEADLINE: Duration = Duration::from_mins(1);

/// Opens each mount point first, so that the cuts follow at once.
const CUT: &str = "\
import fcntl, os, struct, sys
points = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
for point in points:
    fcntl.ioctl(point, 0x8004587d, struct.pack('I', 2))
";

/// Mounted; unmounted when it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
    mounted: bool,
}

// === impl Disk ===

impl Disk {
    /// An empty file system of `bytes`; the image takes what is written.
    pub(crate) async fn create(image: PathBuf, mount_point: PathBuf, bytes: u64) -> Result<Self> {
        fs::create_dir_all(&mount_point)
            .with_context(|| format!("make {}", mount_point.display()))?;
        let file = File::create(&image).with_context(|| format!("make {}", image.display()))?;
        file.set_len(bytes).context("size an image")?;
        let path = image.display().to_string();
        root("mkfs.ext4", &["-q", "-F", "-m", "0", &path]).await?;
        let mut disk = Self {
            image,
            mount_point,
            mounted: false,
        };
        disk.mount().await?;
        Ok(disk)
    }

    /// Mounts it, as a machine does that starts again: the journal is replayed.
    pub(crate) async fn mount(&mut self) -> Result<()> {
        let (image, point) = (self.image.display(), self.mount_point.display());
        let (image, point) = (image.to_string(), point.to_string());
        root("mount", &["-o", "loop", &image, &point])
            .await
            .context("a test that cuts power needs root and loop devices")?;
        self.mounted = true;
        let own = format!("{}", rustix::process::getuid().as_raw());
        root("chown", &[&own, &point]).await
    }

    /// The process that used it has to be gone.
    pub(crate) async fn unmount(&mut self) -> Result<()> {
        let point = self.mount_point.display().to_string();
        // The kernel lets go of a killed process's files a moment later.
        wait_until("a disk to be unmounted", DEADLINE, async || {
            root("umount", &[&point]).await?;
            Ok(Some(()))
        })
        .await?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = as_root("umount").arg("-l").arg(&self.mount_point).status();
        }
    }
}

/// Cuts the power of all of them at once.
pub(crate) async fn cut_power(disks: &[&Disk]) -> Result<()> {
    let points: Vec<String> = disks
        .iter()
        .map(|disk| disk.mount_point.display().to_string())
        .collect();
    ensure!(!points.is_empty(), "this cluster has no disks of its own");
    let mut arguments = vec!["-c", CUT];
    arguments.extend(points.iter().map(String::as_str));
    root("python3", &arguments).await
}

async fn root(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = as_root(program);
    command.args(arguments);
    run(command, DEADLINE).await?.success()?;
    Ok(())
}
