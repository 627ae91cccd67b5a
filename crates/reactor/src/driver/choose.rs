//! Which driver runs here.

use std::io;

use super::{Driver, DriverChoice, DriverReport, DriverSettings};
use crate::Slab;

/// A driver with default settings. See [`choose_driver_with`].
///
/// # Errors
/// As [`choose_driver_with`].
pub fn choose_driver(
    choice: DriverChoice,
    slab: Slab,
) -> io::Result<(Box<dyn Driver>, DriverReport)> {
    choose_driver_with(choice, slab, &DriverSettings::default())
}

/// The driver asked for, and a report of what the machine refused on the way.
///
/// # Errors
/// Where a driver asked for by name cannot be had; where even `epoll` finds no descriptors.
pub fn choose_driver_with(
    _choice: DriverChoice,
    _slab: Slab,
    _settings: &DriverSettings,
) -> io::Result<(Box<dyn Driver>, DriverReport)> {
    Err(io::ErrorKind::Unsupported.into())
}
