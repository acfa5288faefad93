//! A primary and its hot standby, with one address before them that follows the primary, as an operator would have it.
//!
//! Never promotes a standby while its primary could still answer somebody. To add a fault: a method of [`Pair`].

use countersign_simulator::switch::{Farewell, Switch, Untouched};

use super::{Cluster, Death, until};
use crate::{ProofError, dice::Dice};

const HOST: &str = "127.0.0.1";
const FOLLOWS: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')";
const IS_SYNCHRONOUS: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";
const SOMEBODY_WAITS: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')";
const SOMEBODY_LISTENS: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'countersign' AND query LIKE 'LISTEN %')";

/// Whether a commit waits until the standby has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replication {
    Synchronous,
    Asynchronous,
}

/// The two, and what lies between them and before them.
#[derive(Debug)]
pub(crate) struct Pair {
    primary: Cluster,
    standby: Cluster,
    replication: Replication,
    /// The address that follows the primary.
    address: Switch,
    /// By which the standby reaches the primary.
    link: Switch,
}

impl Pair {
    /// A primary that runs alone; the standby comes with [`Pair::renew`].
    pub(crate) async fn start(replication: Replication, dice: &mut Dice) -> Result<Self, ProofError> {
        let primary = Cluster::start(dice).await?;
        let standby = primary.beside()?;
        // A fresh standby still finds what was written while it was copied.
        primary.tell("ALTER SYSTEM SET wal_keep_size = '256MB'").await?;
        primary.tell("SELECT pg_reload_conf()").await?;
        let (address, link) = (Switch::start(Untouched).await?, Switch::start(Untouched).await?);
        address.point(HOST, primary.port, Farewell::Cut);
        Ok(Self { primary, standby, replication, address, link })
    }

    /// The superuser's URL of the database `postgres` of whoever is the primary.
    pub(crate) fn url(&self) -> Result<String, ProofError> {
        self.address.url(&self.primary.url()).ok_or_else(|| ProofError::Rig("no URL of a database".to_owned()))
    }

    /// Makes a fresh standby; returns when everything that is acknowledged from then on is there, too, if it is to be so.
    /// Somebody must be writing meanwhile.
    pub(crate) async fn renew(&mut self) -> Result<(), ProofError> {
        self.link.point(HOST, self.primary.port, Farewell::Cut);
        self.standby.follow(self.link.port()).await?;
        let primary = &self.primary;
        until("the standby follows", async || primary.says(FOLLOWS).await).await?;
        if self.replication == Replication::Synchronous {
            // Not before: until then nobody could commit. The copy does not have it, so that it serves alone at first.
            primary.tell("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
            primary.tell("SELECT pg_reload_conf()").await?;
            until("the standby is synchronous", async || primary.says(IS_SYNCHRONOUS).await).await?;
            // Sessions wait only once another process has read the setting, too: one must be seen to.
            until("a commit waits for the standby", async || primary.says(SOMEBODY_WAITS).await).await?;
        }
        Ok(())
    }

    /// From now on the standby hears nothing of what is committed.
    pub(crate) fn separate(&self) {
        self.link.close(Farewell::Cut);
    }

    /// Kills the primary, all of it, has the standby promoted, and leads everybody to it.
    pub(crate) async fn fail_over(&mut self, farewell: Farewell) -> Result<(), ProofError> {
        if farewell == Farewell::Silence {
            // Its machine goes, and with it the network: nobody hears of the processes' end.
            self.address.close(farewell);
        }
        self.primary.die(Death::Whole).await?;
        self.separate();
        self.address.close(farewell);
        self.standby.promote().await?;
        std::mem::swap(&mut self.primary, &mut self.standby);
        self.address.point(HOST, self.primary.port, farewell);
        Ok(())
    }

    /// Returns when a server hears notifications of whoever is the primary.
    pub(crate) async fn is_listened_to(&self) -> Result<(), ProofError> {
        until("the server listens", async || self.primary.says(SOMEBODY_LISTENS).await).await
    }

    /// Ends both.
    pub(crate) async fn stop(mut self) -> Result<(), ProofError> {
        self.standby.die(Death::Immediate).await?;
        self.primary.die(Death::Immediate).await
    }
}
