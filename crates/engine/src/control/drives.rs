//! CD and DVD drives: what of the tree says what a logical unit is, and which disc is in it.

use model::{Backstore, Touched};
use scsi::lu::HomeAction;
use scsi::{DeviceType, Tray, TrayAction};

use super::stores::has_other_disc;
use crate::shared::UnitSeed;

/// What the logical unit is.
pub(super) fn device_of(store: &Backstore) -> DeviceType {
    match store.is_cdrom() {
        true => DeviceType::Multimedia,
        false => DeviceType::Disk,
    }
}

/// Its tray, where nobody has touched it yet.
pub(super) fn tray_of(store: &Backstore) -> Tray {
    match store.is_ejected() {
        true => Tray::empty(),
        false => Tray::default(),
    }
}

/// What a change means for the tray of a drive.
pub(super) fn tray_change(
    store: &Backstore,
    touched: &Touched,
    seed: &UnitSeed,
) -> Option<HomeAction> {
    let moves = touched.changed().contains("ejected");
    let insert = || TrayAction::Insert(Box::new(seed.store.caps()));
    let action = match (store.is_ejected(), moves) {
        (true, true) => TrayAction::Remove,
        (false, true) => insert(),
        (false, false) if has_other_disc(touched) => insert(),
        (_, false) => return None,
    };
    store.is_cdrom().then_some(HomeAction::Tray(action))
}
