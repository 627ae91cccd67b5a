//! For tests: one home, some shards, and the links between them, whose messages are delivered when the test says so.

use std::collections::VecDeque;
use std::sync::Arc;

use block::{Geometry, StoreCaps};

use super::{Abortion, LuHome, LuShard, NexusId, ShardAction, ShardId, ToHome, ToShard};
use crate::persistent_reserve::{NexusName, TransportId};
use crate::snapshot::{LuIdentity, LuSnapshot};

/// A home, its shards and their links.
pub(super) struct Lab {
    pub(super) home: LuHome,
    pub(super) shards: Vec<Member>,
    /// How tasks were aborted, in the order in which [`Lab::actions`] told of it.
    pub(super) abortions: Vec<Abortion>,
}

/// One shard with its links.
pub(super) struct Member {
    pub(super) shard: Option<LuShard>,
    pub(super) epoch: u64,
    pub(super) to_home: VecDeque<ToHome>,
    pub(super) to_shard: VecDeque<ToShard>,
    /// What the shard had its caller do, but for messages, in order.
    pub(super) actions: Vec<ShardAction>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToHome,
    ToShard,
}

impl Lab {
    /// A lab with shards that are created, and not yet heard of.
    pub(super) fn new(shards: usize) -> Self {
        let mut lab = Self {
            home: LuHome::new(Arc::new(snapshot())),
            shards: Vec::new(),
            abortions: Vec::new(),
        };
        for at in 0..shards {
            lab.shards.push(Member {
                shard: None,
                epoch: 0,
                to_home: VecDeque::new(),
                to_shard: VecDeque::new(),
                actions: Vec::new(),
            });
            lab.create(at);
        }
        lab
    }

    /// A lab whose shards have joined.
    pub(super) fn joined(shards: usize) -> Self {
        let mut lab = Self::new(shards);
        lab.settle();
        lab
    }

    /// Puts a new shard in the place `at`.
    pub(super) fn create(&mut self, at: usize) {
        let member = &mut self.shards[at];
        member.epoch += 1;
        let id = ShardId(u16::try_from(at).unwrap());
        member.shard = Some(LuShard::new(id, member.epoch, &snapshot()));
        self.collect(at);
    }

    pub(super) fn shard(&mut self, at: usize) -> &mut LuShard {
        self.shards[at].shard.as_mut().unwrap()
    }

    /// Takes what the shard wants done: messages go to its link, the rest to `actions`.
    pub(super) fn collect(&mut self, at: usize) {
        let member = &mut self.shards[at];
        let mut actions = Vec::new();
        if let Some(shard) = &mut member.shard {
            shard.take_actions(&mut actions);
        }
        member.sort(actions);
    }

    /// Delivers one message, if there is one.
    pub(super) fn deliver(&mut self, at: usize, way: Way) -> bool {
        match way {
            Way::ToHome => {
                let Some(message) = self.shards[at].to_home.pop_front() else {
                    return false;
                };
                let mut out = Vec::new();
                let from = ShardId(u16::try_from(at).unwrap());
                self.home.handle(from, message, &mut out);
                self.post(out);
            }
            Way::ToShard => {
                let member = &mut self.shards[at];
                let Some(message) = member.to_shard.pop_front() else {
                    return false;
                };
                if let Some(shard) = &mut member.shard {
                    let mut actions = Vec::new();
                    shard.handle(message, &mut actions);
                    member.sort(actions);
                }
            }
        }
        true
    }

    /// Puts what the home says on the links.
    pub(super) fn post(&mut self, out: Vec<(ShardId, ToShard)>) {
        for (shard, message) in out {
            self.shards[usize::from(shard.0)]
                .to_shard
                .push_back(message);
        }
    }

    /// Delivers all messages, and those that they cause.
    pub(super) fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for at in 0..self.shards.len() {
                self.collect(at);
                while self.deliver(at, Way::ToHome) || self.deliver(at, Way::ToShard) {
                    moved = true;
                }
            }
        }
    }

    /// Settles, and takes what the shard `at` wants done since it was last asked.
    ///
    /// How tasks are aborted goes to `abortions`, for the tests that are about it.
    pub(super) fn actions(&mut self, at: usize) -> Vec<ShardAction> {
        self.settle();
        let mut actions = std::mem::take(&mut self.shards[at].actions);
        for action in &mut actions {
            if let ShardAction::Abort(_, how) = action {
                self.abortions.push(std::mem::take(how));
            }
        }
        actions
    }
}

impl Member {
    fn sort(&mut self, actions: Vec<ShardAction>) {
        for action in actions {
            match action {
                ShardAction::ToHome(message) => self.to_home.push_back(message),
                other => self.actions.push(other),
            }
        }
    }
}

/// A nexus' own name.
pub(super) fn name_of(nexus: NexusId) -> NexusName {
    let [_, _, isid @ ..] = nexus.0.to_be_bytes();
    NexusName {
        initiator: TransportId::iscsi("iqn.2026-11.org.example:lab", isid),
        target_port: 1,
    }
}

/// A small LU.
pub(super) fn snapshot() -> LuSnapshot {
    let identity = LuIdentity {
        vendor: *b"QUINTAIN",
        product: *b"LAB             ",
        revision: *b"0001",
        serial: "lab".into(),
        naa: [0x60; 16],
    };
    let caps = StoreCaps::plain(Geometry::new(512, 1024).unwrap());
    LuSnapshot::new(caps, Arc::new(identity), Arc::new([]))
}
