//! Why an initiator can log in, or cannot: the rules of a real login, one by one.

use std::net::SocketAddr;

use control_api::{ExplainLun, ExplainOutcome, ExplainQuery, ExplainStep, Explanation, Problem};
use iscsi_wire::IscsiName;
use model::{Admission, Redirect, Requirement, Rule, Source, Step, Tree};

/// What would come of a login. Without a portal, each of the target's is tried, and the first that admits is told; where
/// none does, the first.
///
/// # Errors
/// A name or a portal that is none.
pub(super) fn explain(tree: &Tree, query: &ExplainQuery) -> Result<Explanation, Problem> {
    let name = |what: &str, text: &str| {
        IscsiName::parse_peer(text).map_err(|error| {
            Problem::new(422, "bad_value", format!("{what} {text}: {error}"))
                .with_hint("write a name such as iqn.2026-11.org.example:host1")
        })
    };
    let initiator = name("initiator", &query.initiator)?;
    let target = name("target", &query.target)?;
    let mut locals = Vec::new();
    match &query.portal {
        Some(text) => locals.push(text.parse::<SocketAddr>().map_err(|_| {
            Problem::new(
                422,
                "bad_value",
                format!("portal {text} is no address and port"),
            )
            .with_hint("write 192.0.2.1:3260 or [2001:db8::1]:3260")
        })?),
        None => {
            let groups = tree
                .target(&target)
                .into_iter()
                .flat_map(|t| t.tpgs.values());
            locals.extend(groups.flat_map(|group| group.portals.keys().copied()));
        }
    }
    if locals.is_empty() {
        // No portal at all: any address tells so.
        locals.push(SocketAddr::from(([0, 0, 0, 0], 3260)));
    }
    let tried = locals
        .iter()
        .map(|local| at(tree, &initiator, &target, *local));
    let mut first = None;
    for explanation in tried {
        if explanation.admitted {
            return Ok(explanation);
        }
        first.get_or_insert(explanation);
    }
    first.ok_or_else(|| Problem::internal("no portal was looked at"))
}

fn at(tree: &Tree, initiator: &IscsiName, target: &IscsiName, local: SocketAddr) -> Explanation {
    let (result, steps) = model::explain(tree, initiator, target, local);
    let mut steps: Vec<ExplainStep> = steps.iter().map(step_of).collect();
    match result {
        Err(refusal) => Explanation {
            admitted: false,
            login_status: Some(status_of(refusal.0).to_owned()),
            steps,
            luns: Vec::new(),
        },
        Ok(admission) => {
            let requirement = tree.requirement(&admission.group, admission.acl.as_deref());
            let (proof, proven) = proof(&admission, &requirement);
            let redirect = admission.redirect();
            let first = redirect.filter(|redirect| proven || !redirect.after_authentication);
            if first
                .as_ref()
                .is_none_or(|redirect| redirect.after_authentication)
            {
                steps.push(proof);
            }
            if let Some(redirect) = first {
                return elsewhere(&redirect, steps);
            }
            Explanation {
                admitted: proven,
                login_status: (!proven).then(|| "0201h authentication failure".to_owned()),
                steps,
                luns: luns(tree, &admission),
            }
        }
    }
}

/// The login ends with the address where it is to go on.
fn elsewhere(redirect: &Redirect, mut steps: Vec<ExplainStep>) -> Explanation {
    steps.push(ExplainStep {
        rule: "redirect".to_owned(),
        path: Some(redirect.path.to_string()),
        outcome: ExplainOutcome::Decides,
        text: format!("the target has {}", redirect.redirection),
    });
    let status = match redirect.redirection.permanent {
        true => "0102h target moved permanently",
        false => "0101h target moved temporarily",
    };
    Explanation {
        admitted: false,
        login_status: Some(status.to_owned()),
        steps,
        luns: Vec::new(),
    }
}

fn step_of(step: &Step) -> ExplainStep {
    let outcome = match step.rule {
        rule if rule.refuses() => ExplainOutcome::Refuses,
        Rule::Portal | Rule::NodeAcl | Rule::AnyInitiator | Rule::HelperDecides => {
            ExplainOutcome::Decides
        }
        _ => ExplainOutcome::Passes,
    };
    ExplainStep {
        rule: step.rule.as_str().to_owned(),
        path: step.path.as_ref().map(ToString::to_string),
        outcome,
        text: step.rule.text().to_owned(),
    }
}

/// RFC 7143 §11.13.5, as a real login of this rule gets it.
fn status_of(rule: Rule) -> &'static str {
    match rule {
        Rule::UnknownTarget | Rule::NoPortal => "0203h target not found",
        Rule::NoAcl => "0202h authorization failure",
        _ => "0301h service unavailable",
    }
}

/// What the initiator has to prove, and whether anybody could.
fn proof(admission: &Admission, requirement: &Requirement) -> (ExplainStep, bool) {
    let of = match requirement.source {
        Source::Acl => "the ACL's own",
        Source::Group => "the portal group's",
        Source::Discovery => "discovery's",
    };
    let (text, admitted) = match requirement {
        Requirement {
            helper: Some(helper),
            ..
        } => (
            format!("the authentication helper at {helper} decides"),
            true,
        ),
        Requirement {
            required: false, ..
        } => ("no proof is asked for".to_owned(), true),
        Requirement {
            credentials: Some(credentials),
            ..
        } => {
            let mutual = match &credentials.mutual {
                Some(mutual) => format!(
                    "; the target proves itself as {:?} where asked",
                    mutual.user
                ),
                None => String::new(),
            };
            let user = &credentials.chap.user;
            (
                format!("CHAP is required, by {of} credentials: user {user:?}{mutual}"),
                true,
            )
        }
        _ => (
            format!(
                "CHAP is required, and there are no credentials: {of} are asked for; set chap.user and chap.secret there"
            ),
            false,
        ),
    };
    let tag = admission.group.tag;
    let group = model::ObjectPath::Tpg(admission.target.name.clone(), tag);
    let acl = admission.acl.as_ref().map(|acl| {
        model::ObjectPath::Acl(admission.target.name.clone(), tag, acl.initiator.clone())
    });
    let step = ExplainStep {
        rule: "authentication".to_owned(),
        path: Some(acl.unwrap_or(group).to_string()),
        outcome: if admitted {
            ExplainOutcome::Decides
        } else {
            ExplainOutcome::Refuses
        },
        text,
    };
    (step, admitted)
}

fn luns(tree: &Tree, admission: &Admission) -> Vec<ExplainLun> {
    let told = |lun: model::VisibleLun| ExplainLun {
        lun: u64::from(lun.number.0),
        backstore: tree
            .backstore_by_id(lun.backstore)
            .map(|store| store.reference())
            .unwrap_or_default(),
        write_protect: lun.write_protect,
    };
    admission.luns().into_iter().map(told).collect()
}
