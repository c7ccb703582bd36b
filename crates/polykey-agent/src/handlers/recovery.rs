//! The calls on recovery.

use polykey_api::recovery::{Resume, Resumed};
use polykey_api::{Code, Problem};

use crate::agent::Agent;
use crate::blocking::{blocking, to_the_end};
use crate::devices::shared::names;
use crate::door::{Action, Caller};
use crate::open;
use crate::recovery::resume;

/// Makes this node what it was.
pub async fn resume(agent: Agent, caller: Caller, q: Resume) -> Result<Resumed, Problem> {
    let mut action = Action::new("recovery.resume");
    action.targets.extend(q.who.iter().cloned());
    let node = agent.enter(&caller, action).await?.node().clone();
    let id = node.id();
    let none = move |continued| Resumed {
        node_id_encoded: id.to_string(),
        continued,
        vaults: Vec::new(),
        waiting: Vec::new(),
    };
    if q.new {
        blocking(move || resume::begin_anew(&node)).await?;
        agent.spread_chain(None);
        return Ok(none(false));
    }
    let words = q
        .recovery_code
        .ok_or_else(|| Problem::new(Code::Usage, "the recovery code is needed"))?;
    let keys = open::recovery_code(&words)?.keys();
    resume::check(&node, &keys)?;
    let from = match q.who.is_empty() {
        true => {
            let all = node.contacts.all().into_iter();
            let known = all.filter(|contact| !contact.blocked);
            known.map(|contact| contact.node).collect::<Vec<_>>()
        }
        false => {
            let named = q.who.iter().map(|who| node.contacts.who(who));
            named.collect::<Result<_, _>>()?
        }
    };
    if from.is_empty() {
        return Err(Problem::new(Code::Usage, "there is no node to ask")
            .hint("add one that shares a vault with this one: `polykey nodes add`"));
    }
    to_the_end(async move {
        let resumed = agent.resume(node, keys, from).await?;
        let came = agent.fetch_again(&resumed.asked).await?;
        let (vaults, waiting) = names(came);
        Ok(Resumed {
            vaults,
            waiting,
            ..none(resumed.continued)
        })
    })
    .await
}
