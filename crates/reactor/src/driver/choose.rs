//! Which driver runs here.

use std::io;

use super::epoll::{Aio, EpollLoop, FastPath};
use super::uring::{Ring, UringLoop};
use super::{Driver, DriverChoice, DriverKind, DriverReport, DriverSettings, Refusal};
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

/// The driver asked for, and a report of what the machine refused on the way. It is bound to the calling thread.
///
/// # Errors
/// Where a driver asked for by name cannot be had (e.g. `PermissionDenied` where io_uring is switched off); where even
/// `epoll` finds no descriptors.
pub fn choose_driver_with(
    choice: DriverChoice,
    slab: Slab,
    settings: &DriverSettings,
) -> io::Result<(Box<dyn Driver>, DriverReport)> {
    let mut refusals = Vec::new();
    let driver: Box<dyn Driver> = match choice {
        DriverChoice::Uring => Box::new(UringLoop::new(named(Ring::new())?, slab, settings)?),
        DriverChoice::Mixed => mixed(named(Ring::with_eventfd())?, slab, settings)?,
        DriverChoice::Epoll => epoll(slab, settings, &mut refusals)?,
        DriverChoice::Auto => match Ring::with_eventfd() {
            Ok(ring) => mixed(ring, slab, settings)?,
            Err(error) => {
                refusals.push(refusal("io_uring", &error, "epoll with native AIO"));
                epoll(slab, settings, &mut refusals)?
            }
        },
    };
    let report = DriverReport {
        kind: driver.kind(),
        refusals,
    };
    Ok((driver, report))
}

fn mixed(ring: Ring, slab: Slab, settings: &DriverSettings) -> io::Result<Box<dyn Driver>> {
    let driver = EpollLoop::new(FastPath::Ring(Box::new(ring)), slab, settings)?;
    debug_assert_eq!(driver.kind(), DriverKind::Mixed);
    Ok(Box::new(driver))
}

fn epoll(
    slab: Slab,
    settings: &DriverSettings,
    refusals: &mut Vec<Refusal>,
) -> io::Result<Box<dyn Driver>> {
    let (aio, refused) = Aio::new()?;
    refusals.extend(refused.map(|error| refusal("native AIO", &error, "threads for direct I/O")));
    Ok(Box::new(EpollLoop::new(
        FastPath::Aio(aio),
        slab,
        settings,
    )?))
}

/// Says what it is that the kernel refused.
fn named(ring: io::Result<Ring>) -> io::Result<Ring> {
    ring.map_err(|error| io::Error::new(error.kind(), format!("io_uring refused: {error}")))
}

fn refusal(what: &'static str, error: &io::Error, instead: &'static str) -> Refusal {
    Refusal {
        what,
        os_error: error.raw_os_error().unwrap_or(libc::EIO),
        instead,
    }
}
