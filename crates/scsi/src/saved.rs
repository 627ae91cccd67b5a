//! The saved form of a logical unit's settings: what outlasts the process beside its persistent reservations.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `QUINTSET` |
//! | 4 | version, 1 |
//! | | items, each: what it is (1), how many bytes follow (4), these |
//! | 4 | CRC-32C of all that stands before |
//!
//! | item | content |
//! |---|---|
//! | 1 | a sanitize operation under way: method (1 block erase, 2 overwrite), unrestricted (0, 1); of an overwrite also passes, invert (0, 1), the pattern |
//! | 2 | one that has failed: unrestricted (0, 1) |
//! | 3 | mode page values, for each field: page code, subpage code, byte, lowest bit, its value, its default at that time |
//! | 4 | identifying information: its type's code, the information |
//!
//! Numbers are little-endian. Something that is not known here makes the whole unreadable: it may be a reason to keep
//! initiators out.

use std::sync::Arc;

use crate::identifying::InformationType;
use crate::persistent_reserve::SavedError;
use crate::reports::{restored_fields, saved_fields};
use crate::sanitize::{Sanitize, SanitizeMethod, SanitizeOrder};
use crate::snapshot::LuSnapshot;

const MAGIC: &[u8; 8] = b"QUINTSET";
const VERSION: u32 = 1;
const SUM_BYTES: usize = 4;

const SANITIZE: u8 = 1;
const SANITIZE_FAILED: u8 = 2;
const MODE: u8 = 3;
const IDENTIFYING: u8 = 4;

const BLOCK_ERASE: u8 = 1;
const OVERWRITE: u8 = 2;

impl LuSnapshot {
    /// The saved form of what is to outlast the process; `None`: nothing is.
    #[must_use]
    pub fn save_settings(&self) -> Option<Vec<u8>> {
        let mut items = Vec::new();
        match &self.sanitize {
            Some(Sanitize::Running(order)) => put(SANITIZE, &order_bytes(order), &mut items),
            Some(Sanitize::Failed { unrestricted }) => {
                put(SANITIZE_FAILED, &[u8::from(*unrestricted)], &mut items);
            }
            None => {}
        }
        if let Some(values) = &self.mode_saved {
            let pages = self.device.tables().mode_pages;
            let fields = saved_fields(pages, values, &self.mode_defaults);
            put(MODE, &fields, &mut items);
        }
        for of_type in InformationType::ALL {
            let information = self.identifying.of(of_type);
            if !information.is_empty() {
                put(
                    IDENTIFYING,
                    &[&[of_type.code()], information].concat(),
                    &mut items,
                );
            }
        }
        if items.is_empty() {
            return None;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&items);
        let sum = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Some(bytes)
    }

    /// The LU with the settings of a saved form.
    ///
    /// # Errors
    /// [`SavedError`], for anything that [`save_settings`](Self::save_settings) has not made.
    pub fn with_saved_settings(self, bytes: &[u8]) -> Result<Self, SavedError> {
        let version = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or(SavedError::Damaged)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(SavedError::Version(version));
        }
        let mut lu = self;
        restore(bytes, &mut lu).ok_or(SavedError::Damaged)?;
        if let Some(sanitize) = &lu.sanitize {
            lu.condition = sanitize.condition();
        }
        Ok(lu)
    }
}

fn put(what: u8, content: &[u8], items: &mut Vec<u8>) {
    items.push(what);
    // The longest, a pattern, has as many bytes as a block.
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    items.extend_from_slice(&length.to_le_bytes());
    items.extend_from_slice(content);
}

fn order_bytes(order: &SanitizeOrder) -> Vec<u8> {
    let unrestricted = u8::from(order.unrestricted);
    match &order.method {
        SanitizeMethod::BlockErase => vec![BLOCK_ERASE, unrestricted],
        SanitizeMethod::Overwrite {
            passes,
            invert,
            pattern,
        } => {
            let mut bytes = vec![OVERWRITE, unrestricted, *passes, u8::from(*invert)];
            bytes.extend_from_slice(pattern);
            bytes
        }
    }
}

fn restore(bytes: &[u8], lu: &mut LuSnapshot) -> Option<()> {
    let (content, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if crc_fast::crc32_iscsi(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut left = content.get(MAGIC.len() + size_of_val(&VERSION)..)?;
    while let [what, rest @ ..] = left {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (content, rest) = rest.split_at_checked(length)?;
        left = rest;
        match *what {
            SANITIZE => lu.sanitize = Some(Sanitize::Running(Arc::new(order(content)?))),
            SANITIZE_FAILED => {
                let &[unrestricted] = content else {
                    return None;
                };
                let unrestricted = flag(unrestricted)?;
                lu.sanitize = Some(Sanitize::Failed { unrestricted });
            }
            MODE => {
                let pages = lu.device.tables().mode_pages;
                let values = restored_fields(pages, content, &lu.mode_defaults)?;
                lu.mode = values;
                lu.mode_saved = Some(values);
            }
            IDENTIFYING => {
                let (code, information) = content.split_first()?;
                let of_type = InformationType::of_code(*code)?;
                let fits = information.len() <= usize::from(of_type.max_bytes());
                let with = lu.identifying.with(of_type, information);
                lu.identifying = fits.then(|| Arc::new(with))?;
            }
            _ => return None,
        }
    }
    Some(())
}

fn order(content: &[u8]) -> Option<SanitizeOrder> {
    let (unrestricted, method) = match content {
        [BLOCK_ERASE, unrestricted] => (*unrestricted, SanitizeMethod::BlockErase),
        [OVERWRITE, unrestricted, passes, invert, pattern @ ..]
            if *passes > 0 && !pattern.is_empty() =>
        {
            (
                *unrestricted,
                SanitizeMethod::Overwrite {
                    passes: *passes,
                    invert: flag(*invert)?,
                    pattern: pattern.into(),
                },
            )
        }
        _ => return None,
    };
    Some(SanitizeOrder {
        method,
        unrestricted: flag(unrestricted)?,
    })
}

fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{LuCondition, LuIdentity, ModeValues, QueueError};
    use block::{Geometry, StoreCaps};

    fn lu() -> LuSnapshot {
        let identity = LuIdentity {
            vendor: *b"QUINTAIN",
            product: [b' '; 16],
            revision: [b' '; 4],
            serial: "1".into(),
            naa: [0; 16],
        };
        let caps = StoreCaps::plain(Geometry::new(512, 8).unwrap());
        LuSnapshot::new(caps, Arc::new(identity), Arc::new([]))
    }

    fn all() -> Vec<LuSnapshot> {
        let overwrite = SanitizeMethod::Overwrite {
            passes: 3,
            invert: true,
            pattern: [1, 2, 3].as_slice().into(),
        };
        let running = |method, unrestricted| {
            let order = SanitizeOrder {
                method,
                unrestricted,
            };
            Some(Sanitize::Running(Arc::new(order)))
        };
        let sanitized = [
            running(SanitizeMethod::BlockErase, true),
            running(overwrite, false),
            Some(Sanitize::Failed { unrestricted: true }),
        ];
        let with = |sanitize: Option<Sanitize>| LuSnapshot {
            condition: sanitize
                .as_ref()
                .map_or(LuCondition::Ready, Sanitize::condition),
            sanitize,
            ..lu()
        };
        let mut all: Vec<LuSnapshot> = sanitized.into_iter().map(with).collect();
        let mode = ModeValues {
            write_cache: true,
            queue_error: QueueError::AbortsOwn,
            ..ModeValues::default()
        };
        let identifying = crate::identifying::Identifying::default()
            .with(InformationType::Device, &[0xff; 512])
            .with(InformationType::Text, b"a");
        all.push(LuSnapshot {
            identifying: Arc::new(identifying),
            ..lu()
        });
        all.push(LuSnapshot {
            mode,
            mode_saved: Some(mode),
            ..lu()
        });
        all
    }

    #[test]
    fn settings_saved_are_the_settings_restored_and_nothing_is_nothing() {
        assert_eq!(lu().save_settings(), None);
        for saved in all() {
            let bytes = saved.save_settings().unwrap();
            assert_eq!(lu().with_saved_settings(&bytes), Ok(saved));
        }
    }

    #[test]
    fn restore_of_a_mode_value_gives_way_where_the_operator_has_changed_its_default() {
        let saved = LuSnapshot {
            mode_saved: Some(ModeValues {
                write_cache: true,
                task_aborted_status: true,
                ..ModeValues::default()
            }),
            ..lu()
        };
        let bytes = saved.save_settings().unwrap();
        let mut now = lu();
        now.mode_defaults.write_cache = true;
        now.mode_defaults.descriptor_sense = true;
        let restored = now.with_saved_settings(&bytes).unwrap();
        let wanted = ModeValues {
            write_cache: true,
            descriptor_sense: true,
            task_aborted_status: true,
            ..ModeValues::default()
        };
        assert_eq!((restored.mode, restored.mode_saved), (wanted, Some(wanted)));
    }

    #[test]
    fn restore_of_anything_cut_or_changed_is_an_error() {
        for saved in all() {
            let bytes = saved.save_settings().unwrap();
            for end in 0..bytes.len() {
                assert!(lu().with_saved_settings(&bytes[..end]).is_err(), "{end}");
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                assert!(lu().with_saved_settings(&changed).is_err(), "{at}");
            }
        }
    }
}
