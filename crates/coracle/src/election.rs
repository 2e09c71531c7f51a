//! Which of several servers schedules and controls: upstream's options, for the scheduler and the controllers of this one.
//! <https://kubernetes.io/docs/concepts/architecture/leases/#leader-election>

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, Args as ClapArgs};
use coracle_client::Election;
use coracle_scheduler::SchedulerConfiguration;

use crate::args::duration;

/// Options of the election, named as upstream's controller manager and scheduler name them.
#[derive(ClapArgs, Clone, Default)]
pub struct LeaderElection {
    /// Whether this server's scheduler and controllers wait until they hold their leases [default: whether others may be
    /// on the same objects]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    leader_elect: Option<bool>,
    /// How long others wait before they take a lease that is not renewed [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    leader_elect_lease_duration: Option<Duration>,
    /// How long who holds a lease tries to renew it before it ends what it does [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    leader_elect_renew_deadline: Option<Duration>,
    /// The pause between tries to take or renew a lease [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    leader_elect_retry_period: Option<Duration>,
    /// The kind of the objects that are held
    #[arg(long, value_name = "KIND", value_parser = ["leases"])]
    #[allow(dead_code, reason = "there is but one kind, and any other is refused")]
    leader_elect_resource_lock: Option<String>,
    /// The namespace of the leases [default: kube-system]
    #[arg(long, value_name = "NAMESPACE")]
    leader_elect_resource_namespace: Option<String>,
    /// Refused: one name cannot be that of two leases
    #[arg(long, value_name = "NAME", hide = true, value_parser = no_name)]
    #[allow(dead_code, reason = "no value of it is accepted")]
    leader_elect_resource_name: Option<String>,
}

impl LeaderElection {
    /// How the controllers of this server compete; `is_shared` says whether others may be on the same objects.
    ///
    /// # Errors
    /// Its holder could not give up the lease before others may take it.
    pub fn of_controllers(&self, is_shared: bool) -> Result<Election> {
        if is_shared && self.leader_elect == Some(false) {
            tracing::warn!(
                "--leader-elect=false: no other server may be on the same etcd, as both would schedule and control"
            );
        }
        self.over(Election { elect: is_shared, ..Election::default() })
    }

    /// How the scheduler competes. What is said here goes before what its configuration says, as upstream has it.
    ///
    /// # Errors
    /// As [`LeaderElection::of_controllers`].
    pub fn of_scheduler(&self, is_shared: bool, scheduler: &SchedulerConfiguration) -> Result<Election> {
        self.over(scheduler.election(Election { elect: is_shared, ..Election::default() }))
    }

    fn over(&self, usual: Election) -> Result<Election> {
        let election = Election {
            elect: self.leader_elect.unwrap_or(usual.elect),
            namespace: self.leader_elect_resource_namespace.clone().unwrap_or(usual.namespace),
            lease_duration: self.leader_elect_lease_duration.unwrap_or(usual.lease_duration),
            renew_deadline: self.leader_elect_renew_deadline.unwrap_or(usual.renew_deadline),
            retry_period: self.leader_elect_retry_period.unwrap_or(usual.retry_period),
        };
        election
            .check()
            .context("--leader-elect-lease-duration, -renew-deadline and -retry-period do not fit each other")?;
        Ok(election)
    }
}

/// Controllers and scheduler hold a lease each, under the names that their roles let them write.
fn no_name(_: &str) -> Result<String, String> {
    Err("scheduler and controllers of one process have a lease each, kube-scheduler and kube-controller-manager; \
        that of the scheduler can be named in --scheduler-config"
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        election: LeaderElection,
    }

    fn parse(line: &str) -> Result<LeaderElection, clap::Error> {
        Line::try_parse_from(std::iter::once("server").chain(line.split_whitespace())).map(|line| line.election)
    }

    #[test]
    fn what_is_said_to_upstreams_parts_goes_before_files_and_what_is_usual() {
        let said =
            parse("--leader-elect --leader-elect-lease-duration=60s --leader-elect-resource-namespace=a").unwrap();
        let election = said.of_controllers(false).unwrap();
        let seconds = Duration::from_secs;
        let wanted =
            Election { elect: true, namespace: "a".into(), lease_duration: seconds(60), ..Election::default() };
        assert_eq!(election, wanted);
        let file = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
            leaderElection: {leaderElect: true, leaseDuration: 30s, renewDeadline: 20s}\n";
        let file = SchedulerConfiguration::parse(file).unwrap();
        let election = said.of_scheduler(false, &file).unwrap();
        assert_eq!(election, Election { renew_deadline: seconds(20), ..wanted });
        let none = parse("").unwrap();
        assert!(none.of_controllers(true).unwrap().elect && !none.of_controllers(false).unwrap().elect);
        assert!(!parse("--leader-elect=false").unwrap().of_scheduler(true, &file).unwrap().elect);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in ["--leader-elect-resource-lock=endpoints", "--leader-elect-resource-name=a", "--leader-elect=x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("--leader-elect-resource-lock=leases").is_ok());
        for wrong in
            ["--leader-elect-lease-duration=5s", "--leader-elect-retry-period=9s", "--leader-elect-retry-period=0s"]
        {
            assert!(parse(wrong).unwrap().of_controllers(true).is_err(), "{wrong}");
        }
    }
}
