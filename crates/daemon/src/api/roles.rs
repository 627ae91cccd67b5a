//! Who may do what: the role of a peer, and the one table of what each route asks for.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use control_api::{Change, Problem};

use crate::control::Role;

/// `/etc/passwd` and `/etc/group` are read no further.
const FILE_LIMIT_BYTES: u64 = 8 << 20;

/// Attributes that an operator may set.
const OPERATOR_ATTRIBUTES: &[&str] = &["enabled", "size"];

/// One route: what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// As in the OpenAPI document; `{path}` is the rest of the URL.
    pub path: &'static str,
    /// The least role.
    pub role: Role,
    /// What asks for [`Role::Admin`] all the same.
    pub admin_for: Option<AdminFor>,
}

/// What asks for an admin on a route that others may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminFor {
    /// Any change but setting `enabled` and `size`.
    OtherChanges,
    /// An export with secrets.
    Secrets,
}

const fn route(method: &'static str, path: &'static str, role: Role) -> Route {
    Route {
        method,
        path,
        role,
        admin_for: None,
    }
}

const fn route_but(
    method: &'static str,
    path: &'static str,
    role: Role,
    admin_for: AdminFor,
) -> Route {
    Route {
        method,
        path,
        role,
        admin_for: Some(admin_for),
    }
}

/// Every route of the API. One that is missing here is refused to everybody.
pub const ROUTES: &[Route] = &[
    route("GET", "/v1/tree", Role::Viewer),
    route_but("PATCH", "/v1/tree", Role::Operator, AdminFor::OtherChanges),
    route("PUT", "/v1/tree", Role::Admin),
    route("GET", "/v1/tree/{path}", Role::Viewer),
    route_but(
        "PATCH",
        "/v1/tree/{path}",
        Role::Operator,
        AdminFor::OtherChanges,
    ),
    route("PUT", "/v1/tree/{path}", Role::Admin),
    route("DELETE", "/v1/tree/{path}", Role::Admin),
    route_but(
        "POST",
        "/v1/transactions",
        Role::Operator,
        AdminFor::OtherChanges,
    ),
    // Reads files that the daemon may read and the caller may not, as a dry run too.
    route("POST", "/v1/apply", Role::Admin),
    route_but("GET", "/v1/export", Role::Viewer, AdminFor::Secrets),
    route("GET", "/v1/sessions", Role::Viewer),
    route("GET", "/v1/sessions/{id}", Role::Viewer),
    route("DELETE", "/v1/sessions/{id}", Role::Operator),
    route("GET", "/v1/explain", Role::Viewer),
    route("GET", "/v1/history", Role::Viewer),
    route("POST", "/v1/rollback/{generation}", Role::Admin),
    route("GET", "/v1/refused", Role::Viewer),
    route("GET", "/v1/attributes", Role::Viewer),
    route("GET", "/v1/status", Role::Viewer),
    route("GET", "/v1/audit", Role::Viewer),
    route("GET", "/v1/events", Role::Viewer),
    route("GET", "/metrics", Role::Viewer),
    route("GET", "/healthz", Role::Viewer),
    route("GET", "/openapi.json", Role::Viewer),
];

/// Refuses a request that has no row in the table, or whose row asks for more than the caller is. Who has no role is not
/// told which routes there are.
pub(super) fn check_route(role: Option<Role>, method: &str, url_path: &str) -> Result<(), Problem> {
    let role = role.ok_or_else(no_role)?;
    if !ROUTES.iter().any(|route| matches(route.path, url_path)) {
        return Err(
            Problem::new(404, "no_such_route", "there is nothing at this URL")
                .with_hint("GET /openapi.json lists what there is"),
        );
    }
    // RFC 9110 §9.3.2: HEAD is GET without the body.
    let method = if method == "HEAD" { "GET" } else { method };
    let route = ROUTES
        .iter()
        .find(|route| route.method == method && matches(route.path, url_path));
    let Some(route) = route else {
        return Err(
            Problem::new(405, "method_not_allowed", "this URL has no such method")
                .with_hint(format!("it has {}", methods_of(url_path))),
        );
    };
    check_role(role, route.role, "this request")
}

/// What a caller without any role is told.
pub(super) fn no_role() -> Problem {
    Problem::forbidden("this user has no role here").with_hint(
        "ask as root, as the daemon's user or as a member of its operator or viewer group",
    )
}

/// RFC 9110 §10.2.1: what a 405 names in `Allow`.
pub(super) fn methods_of(url_path: &str) -> String {
    let rows = ROUTES.iter().filter(|route| matches(route.path, url_path));
    rows.map(|route| route.method)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Refuses changes that the caller's role does not cover.
pub(super) fn check_changes(role: Role, changes: &[Change]) -> Result<(), Problem> {
    let other = changes.iter().find(|change| !is_for_operators(change));
    match other {
        None => check_role(role, Role::Operator, "a change"),
        Some(change) => check_role(role, Role::Admin, "this change")
            .map_err(|problem| problem.with_path(change.path())),
    }
}

/// Refuses secrets to all but admins.
pub(super) fn check_secrets(role: Role) -> Result<(), Problem> {
    check_role(role, Role::Admin, "an export with secrets")
}

fn check_role(role: Role, needed: Role, what: &str) -> Result<(), Problem> {
    if role >= needed {
        return Ok(());
    }
    let detail = format!(
        "{what} needs {}; you are {}",
        with_article(needed),
        with_article(role)
    );
    let problem = Problem::forbidden(detail);
    Err(if needed == Role::Admin && role == Role::Operator {
        problem.with_hint("an operator may end sessions and set `enabled` and `size`")
    } else {
        problem
    })
}

fn with_article(role: Role) -> String {
    let article = if role == Role::Viewer { "a" } else { "an" };
    format!("{article} {role}")
}

fn is_for_operators(change: &Change) -> bool {
    match change {
        Change::Set { attributes, .. } => attributes
            .keys()
            .all(|name| OPERATOR_ATTRIBUTES.contains(&name.as_str())),
        Change::Create { .. } | Change::Delete { .. } => false,
    }
}

/// `{path}` is one segment or more, another `{name}` exactly one.
fn matches(pattern: &str, url_path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), url_path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("{path}"), Some(_)) => return true,
            (Some(want), Some(_)) if want.starts_with('{') => {}
            (Some(want), Some(give)) if want == give => {}
            _ => return false,
        }
    }
}

/// Who has which role. Root and the daemon's own user are admins; members of the two groups are operators and viewers;
/// nobody else has any.
#[derive(Clone, Debug)]
pub struct RoleRules {
    own_uid: u32,
    operator_gid: Option<u32>,
    viewer_gid: Option<u32>,
    passwd: PathBuf,
    group: PathBuf,
}

/// A configured group that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupError {
    /// As it was written.
    pub group: String,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no group {}; make it with groupadd, or give a group's number",
            self.group
        )
    }
}

impl std::error::Error for GroupError {}

impl RoleRules {
    /// Root and this user, which is the daemon's own, and nobody else.
    #[must_use]
    pub fn new(own_uid: u32) -> Self {
        Self {
            own_uid,
            operator_gid: None,
            viewer_gid: None,
            passwd: PathBuf::from("/etc/passwd"),
            group: PathBuf::from("/etc/group"),
        }
    }

    /// With other files in place of `/etc/passwd` and `/etc/group`.
    #[must_use]
    pub fn with_files(self, passwd: impl Into<PathBuf>, group: impl Into<PathBuf>) -> Self {
        Self {
            passwd: passwd.into(),
            group: group.into(),
            ..self
        }
    }

    /// With a group of operators, by name or number.
    ///
    /// # Errors
    /// There is no group of that name.
    pub fn with_operators(self, group: &str) -> Result<Self, GroupError> {
        Ok(Self {
            operator_gid: Some(self.group_id(group)?),
            ..self
        })
    }

    /// With a group of viewers, by name or number.
    ///
    /// # Errors
    /// There is no group of that name.
    pub fn with_viewers(self, group: &str) -> Result<Self, GroupError> {
        Ok(Self {
            viewer_gid: Some(self.group_id(group)?),
            ..self
        })
    }

    /// The role of a peer, by the user and primary group that the kernel tells of it. Its further groups are those that
    /// `/etc/group` lists its user in now: what a directory service alone knows is not seen.
    #[must_use]
    pub fn role(&self, uid: u32, gid: u32) -> Option<Role> {
        if uid == 0 || uid == self.own_uid {
            return Some(Role::Admin);
        }
        let groups = [
            (self.operator_gid, Role::Operator),
            (self.viewer_gid, Role::Viewer),
        ];
        let mut groups = groups
            .into_iter()
            .filter_map(|(gid, role)| Some((gid?, role)))
            .peekable();
        groups.peek()?;
        let further = self.further_groups(uid);
        groups
            .find(|(group, _)| *group == gid || further.contains(group))
            .map(|(_, role)| role)
    }

    fn group_id(&self, group: &str) -> Result<u32, GroupError> {
        if let Ok(gid) = group.parse() {
            return Ok(gid);
        }
        let text = read_bounded(&self.group);
        text.lines()
            .filter_map(GroupLine::parse)
            .find(|line| line.name == group)
            .map(|line| line.gid)
            .ok_or_else(|| GroupError {
                group: group.to_owned(),
            })
    }

    fn further_groups(&self, uid: u32) -> Vec<u32> {
        let passwd = read_bounded(&self.passwd);
        let Some(user) = passwd.lines().find_map(|line| user_of(line, uid)) else {
            return Vec::new();
        };
        let group = read_bounded(&self.group);
        let lines = group.lines().filter_map(GroupLine::parse);
        lines
            .filter(|line| line.members.split(',').any(|m| m == user))
            .map(|line| line.gid)
            .collect()
    }
}

/// group(5): `name:password:gid:member,member`.
struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    }
}

/// passwd(5): `name:password:uid:...`.
fn user_of(line: &str, uid: u32) -> Option<&str> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
}

/// A file that cannot be read has no lines: nobody gets a role by it.
fn read_bounded(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read {
        tracing::warn!(path = %path.display(), %error, "no further groups are known");
        return String::new();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
