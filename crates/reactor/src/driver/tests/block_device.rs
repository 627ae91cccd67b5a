//! A block device: a loop device over a file, where this machine lets the test make one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::files::{directory, other, read, write};
use super::*;
use crate::{OpenOptions, StoreFile};

on_each_driver![block_device_does_all_operations_and_is_held_exclusively];

struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(file: &Path) -> Result<Self, String> {
        let output = Command::new("losetup")
            .arg("--find")
            .arg("--show")
            .arg(file)
            .output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(Self(
            String::from_utf8(output.stdout).unwrap().trim().into(),
        ))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}

fn block_device_does_all_operations_and_is_held_exclusively(mut bench: Bench) {
    let dir = directory();
    let image = dir.path().join("image");
    std::fs::write(&image, vec![0xAA; 4 << 20]).unwrap();
    let device = match LoopDevice::new(&image) {
        Ok(device) => device,
        Err(error) => return eprintln!("skipped: no loop device can be made here: {error}"),
    };
    for direct in [false, true] {
        let options = OpenOptions {
            write: true,
            direct,
            create_new: false,
        };
        let handle = Arc::new(StoreFile::open(&device.0, options).unwrap());
        assert!(handle.is_block_device());
        assert_eq!(handle.is_direct(), direct);
        assert_eq!(handle.size_bytes().unwrap(), 4 << 20);
        assert!(!handle.is_read_only_device().unwrap());
        assert!(handle.direct_alignment_bytes().unwrap() >= 512);
        assert!(handle.physical_block_bytes().unwrap() >= 512);
        let again = StoreFile::open(&device.0, options).unwrap_err();
        assert_eq!(os(&again), libc::EBUSY, "it is held exclusively");
        let file = bench.driver.add_file(handle.clone());
        let bytes = pattern(65_536);
        for durable in [false, true] {
            assert_eq!(
                write(&mut bench, file, 8192, &bytes, durable).unwrap(),
                65_536
            );
            assert!(read(&mut bench, file, 8192, 65_536).unwrap() == bytes);
        }
        assert_eq!(
            read(&mut bench, file, (4 << 20) - 4096, 8192)
                .unwrap()
                .len(),
            4096
        );
        other(&mut bench, Op::Flush { file }).unwrap();
        other(
            &mut bench,
            Op::Zero {
                file,
                offset: 8192,
                bytes: 4096,
            },
        )
        .unwrap();
        assert_eq!(read(&mut bench, file, 8192, 4096).unwrap(), [0; 4096]);
        other(
            &mut bench,
            Op::Punch {
                file,
                offset: 12_288,
                bytes: 4096,
            },
        )
        .unwrap();
        assert_eq!(read(&mut bench, file, 12_288, 4096).unwrap(), [0; 4096]);
        other(
            &mut bench,
            Op::Discard {
                file,
                offset: 16_384,
                bytes: 4096,
            },
        )
        .unwrap();
        assert!(read(&mut bench, file, 20_480, 4096).unwrap() == bytes[12_288..16_384]);
        bench.driver.remove_file(file);
    }
}
