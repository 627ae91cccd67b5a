//! The saved form, and what a state keeps true whatever is asked of it.

use proptest::prelude::*;

use super::*;
use crate::lu::UnitAttention;

fn nexus(number: u64) -> NexusName {
    let [_, _, isid @ ..] = number.to_be_bytes();
    NexusName {
        initiator: TransportId::iscsi("iqn.2026-11.org.example:host", isid),
        target_port: 1 + u16::from(number > 4),
    }
}

fn ports() -> Vec<TargetPort> {
    let port = |relative_id| TargetPort {
        relative_id,
        group_id: 1,
        name: format!("iqn.2026-11.org.example:a,t,0x{relative_id:04x}").into(),
        device_name: "iqn.2026-11.org.example:a".into(),
    };
    vec![port(1), port(2)]
}

/// A request with few keys, so that they meet.
fn request() -> impl Strategy<Value = (u64, u8, u8, u64, u64, u8)> {
    (0u64..8, 0u8..8, 0u8..10, 0u64..4, 0u64..4, 0u8..8)
}

fn ask(
    now: &PersistentReservations,
    (by, action, kind, key, action_key, flags): (u64, u8, u8, u64, u64, u8),
) -> Option<Outcome> {
    let action = [
        ServiceAction::Register,
        ServiceAction::Reserve,
        ServiceAction::Release,
        ServiceAction::Clear,
        ServiceAction::Preempt,
        ServiceAction::PreemptAndAbort,
        ServiceAction::RegisterAndIgnoreExistingKey,
        ServiceAction::RegisterAndMove,
    ][usize::from(action)];
    let mut list = vec![0; 24];
    list[7] = u8::try_from(key).unwrap();
    list[15] = u8::try_from(action_key).unwrap();
    if action == ServiceAction::RegisterAndMove {
        let to = nexus(u64::from(flags));
        let id = to.initiator.as_bytes();
        list[17] = flags & 3;
        list[18..20].copy_from_slice(&to.target_port.to_be_bytes());
        list[23] = u8::try_from(id.len()).unwrap();
        list.extend_from_slice(id);
    } else {
        list[20] = flags & 0x05;
    }
    let request = PersistentReserveOut::parse(action, kind, &list).unwrap();
    let (name, ports) = (nexus(by), ports());
    let asking = Asking {
        now,
        nexus: &name,
        ports: &ports,
        ptpl_capable: true,
    };
    carry_out(&asking, &request).ok()
}

/// What every state is, whatever led to it.
fn check(state: &PersistentReservations) {
    let registrations = &state.registrations;
    assert!(registrations.is_sorted_by(|a, b| a.nexus < b.nexus));
    assert!(registrations.iter().all(|one| one.key != 0));
    if let Some(held) = &state.reservation {
        assert_eq!(held.kind.is_all_registrants(), held.holder.is_none());
        match &held.holder {
            Some(holder) => assert_eq!(state.standing(holder), Standing::Holder),
            None => assert!(!registrations.is_empty()),
        }
    }
    if let Some(bytes) = state.save() {
        let expected = PersistentReservations {
            generation: 0,
            ..state.clone()
        };
        assert_eq!(PersistentReservations::restore(&bytes), Ok(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_requests_leave_a_state_that_holds_together_and_can_be_saved(
        requests in proptest::collection::vec(request(), 1..60),
    ) {
        let mut now = PersistentReservations::default();
        for one in requests {
            let Some(outcome) = ask(&now, one) else { continue };
            let next = &*outcome.next;
            check(next);
            // Those that lose their registration to another are told, those of the command never.
            let by = nexus(one.0);
            let lost = now.registrations.iter().map(|one| &one.nexus);
            let lost = lost.filter(|name| **name != by && next.key_of(name).is_none());
            let unregisters = matches!(one.1, 0 | 6);
            for name in lost.filter(|_| !unregisters) {
                let told = outcome.told.iter().filter(|(_, names)| names.contains(name));
                let told: Vec<_> = told.map(|(attention, _)| *attention).collect();
                let expected = match one.1 {
                    3 => UnitAttention::ReservationsPreempted,
                    _ => UnitAttention::RegistrationsPreempted,
                };
                prop_assert_eq!(told, [expected]);
            }
            for (_, names) in &outcome.told {
                prop_assert!(names.is_sorted() && !names.contains(&by));
            }
            if let Some(aborted) = &outcome.aborted {
                prop_assert!(aborted.is_sorted());
            }
            now = next.clone();
        }
    }

    #[test]
    fn saved_form_with_any_change_is_not_read(
        requests in proptest::collection::vec(request(), 1..20),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut now = PersistentReservations::default();
        for one in requests {
            if let Some(outcome) = ask(&now, one) {
                now = (*outcome.next).clone();
            }
        }
        now.persists = true;
        let mut bytes = now.save().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(PersistentReservations::restore(&bytes).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(PersistentReservations::restore(&bytes[..at]).is_err());
        bytes.push(0);
        prop_assert!(PersistentReservations::restore(&bytes).is_err());
    }

    #[test]
    fn saved_form_of_any_bytes_is_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        sealed in any::<bool>(),
    ) {
        let mut whole = b"QUINTRSV\x01\0\0\0".to_vec();
        whole.extend_from_slice(&bytes);
        if sealed {
            let sum = crc_fast::crc32_iscsi(&whole);
            whole.extend_from_slice(&sum.to_le_bytes());
        }
        if let Ok(state) = PersistentReservations::restore(&whole) {
            check(&state);
        }
    }
}

#[test]
fn saved_form_is_as_it_is_written_down() {
    let mut state = PersistentReservations {
        persists: true,
        ..PersistentReservations::default()
    };
    state.register(&nexus(1), 0x1122).unwrap();
    state.register(&nexus(2), 0x3344).unwrap();
    state.establish(ReservationType::ExclusiveAccess, &nexus(2));
    let bytes = state.save().unwrap();
    let id = |number| nexus(number).initiator.as_bytes().to_vec();
    let mut expected = b"QUINTRSV\x01\0\0\0\x03\0\x01\0\x02\0\0\0".to_vec();
    for (number, key) in [(1, 0x1122_u64), (2, 0x3344)] {
        expected.extend_from_slice(&key.to_le_bytes());
        expected.extend_from_slice(&[1, 0, u8::try_from(id(number).len()).unwrap(), 0]);
        expected.extend_from_slice(&id(number));
    }
    assert_eq!(bytes[..bytes.len() - 4], expected);
    let sum = crc_fast::crc32_iscsi(&expected).to_le_bytes();
    assert_eq!(bytes[bytes.len() - 4..], sum);
}

#[test]
fn saved_form_of_another_version_is_told_apart_from_a_damaged_one() {
    let mut bytes = PersistentReservations::lost().save().unwrap();
    bytes[8] = 2;
    let restored = PersistentReservations::restore(&bytes);
    assert_eq!(restored, Err(SavedError::Version(2)));
    bytes[0] = b'X';
    assert_eq!(
        PersistentReservations::restore(&bytes),
        Err(SavedError::Damaged)
    );
}
