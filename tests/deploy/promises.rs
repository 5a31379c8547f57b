//! What is promised, and which tests hold it: data for the first tables of `deploy/docs/reliability.md`.

/// A promise or an attack, and the functions that test it.
pub struct Promise {
    pub about: &'static str,
    pub tests: &'static [&'static str],
}

/// What never happens, in the order of the design.
pub const INVARIANTS: [Promise; 8] = [
    Promise {
        about: "Nothing stays held: after `kill -9`, a lost leader, a failed run, an uninstall, or with no process at all",
        tests: &[
            "the_api_server_ends_a_hold_at_its_deadline_with_no_process_running",
            "a_process_that_dies_after_each_write_finishes_the_run",
            "the_deadline_removes_the_hold_whatever_else_is",
            "a_run_that_can_no_longer_read_its_hold_ends_after_the_deadline",
            "an_uninstall_releases_what_a_killed_daemon_held",
            "release_needs_no_daemon",
            "a_soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "No ReplicationSource and no PersistentVolumeClaim is written",
        tests: &[
            "held_sources_get_no_snapshot_and_nothing_of_theirs_is_written",
            "mode_act_is_given_what_it_uses_and_nothing_else",
            "a_soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "A destructive call names uid and resourceVersion, is allowed by open gates, and follows evidence that rebuilds the object",
        tests: &[
            "a_target_is_pinned",
            "only_the_snapshot_that_was_decided_on_is_deleted",
            "a_snapshot_that_becomes_ready_before_its_deletion_is_written_survives",
            "an_object_as_it_should_be_is_kept_whole",
            "deleted_source_is_created_again_from_its_evidence",
            "each_breach_is_caught",
            "a_soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "An empty, stale or failed observation is neither \"nothing is stuck\" nor \"everything\": without a fresh one nothing is done",
        tests: &[
            "what_is_not_seen_is_never_zero",
            "doubt_is_shown_and_ends_with_2",
            "any_watch_in_doubt_closes_freshness",
            "a_watch_that_fails_makes_the_run_wait",
            "nothing_is_released_before_the_sources_are_listed",
        ],
    },
    Promise {
        about: "A gate never blocks undoing",
        tests: &[
            "what_closes_a_gate_keeps_no_hold",
            "a_gate_that_stays_closed_keeps_nothing_held_and_no_run_alive",
            "an_abort_behind_a_closed_gate_releases_at_once",
        ],
    },
    Promise {
        about: "A step is done when the cluster shows its effect",
        tests: &[
            "a_hold_that_is_not_in_force_is_noticed_before_anything_is_deleted",
            "a_restart_is_complete_once_the_leases_are_held",
            "a_restore_that_hangs_again_is_no_success",
            "a_run_that_an_api_server_never_lets_through_fails_and_is_undone",
        ],
    },
    Promise {
        about: "Out of the box nothing is changed: mode `observe` writes nothing, mode `plan` only what it would do",
        tests: &[
            "unless_told_otherwise_it_observes",
            "mode_observe_sees_the_jam_and_writes_nothing_whatever_fires",
            "mode_plan_records_what_it_would_do_and_does_none_of_it",
            "mode_observe_is_given_what_it_uses_and_nothing_that_writes",
        ],
    },
    Promise {
        about: "Nothing of a tenant crashes, stalls or blinds the program, nor makes it act where that tenant may not",
        tests: &[
            "tenant_disturbs_nobody",
            "forged_evidence_makes_one_run_that_never_begins",
            "forged_snapshots_change_nothing_of_a_run",
            "a_thousand_hostile_connections_leave_metrics_and_a_run_alone",
        ],
    },
];

/// What was found by a hostile review and in bug reports, by number.
pub const ATTACKS: [Promise; 17] = [
    Promise {
        about: "Thousands of claims named `vs-prime-<uid>`, after each other or at random, overflow the stack or stall every view",
        tests: &[
            "chained_claim_names_cost_no_recursion",
            "stray_populator_names_cost_no_scan",
            "one_lock_with_many_waiters_costs_one_pass",
            "unserved_snapshots_cost_one_lookup_each_driver",
            "tenant_disturbs_nobody",
        ],
    },
    Promise {
        about: "A field that an older CRD prunes is recorded again without a pause; a clock that is behind makes a hot loop",
        tests: &[
            "older_definition_keeps_runs_from_beginning_until_upgraded",
            "missing_field_is_named_by_its_path",
            "status_kept_whole_misses_nothing",
            "failing_run_is_driven_ever_less_often",
        ],
    },
    Promise {
        about: "Refused writes are repeated with every view, and the first of them block all others",
        tests: &[
            "a_refused_release_is_repeated_ever_less_often",
            "refused_object_waits_until_it_is_written",
            "hung_deletion_that_cannot_be_annotated_holds_nothing_up",
            "a_run_on_a_faulty_api_server_ends_well",
        ],
    },
    Promise {
        about: "`spec.sourcePVC` is a path or a query, or names thousands of claims to look up",
        tests: &[
            "impossible_name_is_missing_without_a_request",
            "lookup_that_hangs_delays_no_other",
            "round_takes_turns_between_namespaces",
            "round_ends_in_time_on_a_slow_api_server",
            "tenant_disturbs_nobody",
        ],
    },
    Promise {
        about: "Alerts fill a Remediation to etcd's limit; slow bodies hold every place; a web page posts to a port-forward",
        tests: &[
            "alerts_put_little_into_a_remediation",
            "full_run_is_aborted_and_the_next_alert_has_another",
            "full_run_swallows_no_alert",
            "slow_bodies_keep_nobody_out",
            "bodies_share_bounded_memory",
            "many_scrapes_at_once_write_few_expositions",
            "webhook_takes_json_only",
            "every_hostile_request_has_its_answer",
        ],
    },
    Promise {
        about: "Annotations of 256 KiB, names at their limits, 10,000 sources",
        tests: &[
            "run_heals_objects_that_are_full",
            "long_names_cost_a_kilobyte",
            "largest_hold_and_largest_record_are_taken",
            "any_number_of_objects_that_are_not_acted_on_can_be_planned",
            "evidence_is_no_larger_than_it_may_be_and_always_names_the_object",
            "what_one_remediation_cannot_record_is_not_begun",
            "tenant_disturbs_nobody",
        ],
    },
    Promise {
        about: "A task ends unnoticed; a leader does nothing; two containers share an identity; a machine is paused",
        tests: &[
            "end_of_a_task_is_told_with_its_name",
            "panic_of_a_task_is_told_with_its_name",
            "a_leader_frozen_in_a_write_does_no_harm_when_it_wakes",
            "a_term_ends_before_anybody_else_may_take_the_lease",
            "identities_without_a_pod_name_are_unique",
            "a_loop_that_stands_still_fails_the_liveness_probe",
            "a_replica_whose_clock_stood_still_writes_nothing_once_another_leads",
        ],
    },
    Promise {
        about: "\"Nothing is stuck\" is reported where nothing was looked at",
        tests: &[
            "collection_that_is_not_served_is_a_doubt",
            "excluded_driver_is_told_with_its_claims",
            "cluster_without_a_csi_driver_is_a_doubt",
            "every_csi_driver_in_use_is_watched_by_default",
            "of_a_cluster_without_drivers_it_is_in_doubt_and_exits_with_2",
            "a_dashboard_says_all_clear_only_where_the_whole_cluster_is_seen",
        ],
    },
    Promise {
        about: "A claim that was missing once is an orphan's as soon as it is missing again",
        tests: &[
            "any_answer_but_404_starts_the_count_anew",
            "absences_end_with_the_last_source_that_names_the_claim",
        ],
    },
    Promise {
        about: "Evidence loses fields",
        tests: &[
            "deleted_source_is_created_again_from_its_evidence",
            "leases_and_pods_are_kept_before_the_restart",
            "status_goes_before_metadata_and_metadata_before_spec",
        ],
    },
    Promise {
        about: "Snapshots get the wrong reason, or a deletion that cannot help; a run that repaired nothing succeeds",
        tests: &[
            "a_run_about_what_no_deletion_helps_ends_before_it_holds_anything",
            "what_becomes_of_a_run_about_failed_snapshots",
            "what_becomes_of_a_run_about_locks",
            "a_content_without_its_snapshot_is_found_by_itself",
            "protected_snapshots_and_those_the_driver_has_are_skipped",
        ],
    },
    Promise {
        about: "Lock keys are paths, shortened uids or quoted; drivers other than Rook's",
        tests: &[
            "lock_by_path_or_short_uid_explains_its_claim",
            "short_uid_of_two_leads_to_neither",
            "configured_pattern_goes_before_common_ones",
            "recognises_what_drivers_write",
            "known_drivers_have_a_container",
        ],
    },
    Promise {
        about: "A rejected plan is offered again; nobody's approval is a failure; one failed snapshot is too many; daemons drive each other's runs",
        tests: &[
            "a_rejected_plan_ends_the_run_and_changes_nothing",
            "a_run_that_waited_in_vain",
            "no_more_is_deleted_than_is_allowed",
            "run_of_another_namespace_is_not_driven",
            "run_of_another_daemon_is_not_joined",
        ],
    },
    Promise {
        about: "Payloads of Grafana and of old Alertmanagers",
        tests: &[
            "reads_what_grafana_sends",
            "fingerprint_may_be_missing",
            "tool_that_owns_a_source_is_read_from_its_labels",
        ],
    },
    Promise {
        about: "The daemon's rights reach the storage operator",
        tests: &["restart_rights_end_at_annotations_and_provisioner_pods"],
    },
    Promise {
        about: "The uninstall Job reaches no API server under default-deny",
        tests: &["network_policy_selects_the_pods_of_the_uninstall_job"],
    },
    Promise {
        about: "Suspected by reading: retries count as refusals, short leases read as not held, pods of two drivers, alerts that end",
        tests: &[
            "lock_errors",
            "lease_is_held_within_its_duration_and_the_clocks_tolerance",
            "pod_of_two_drivers_is_followed_for_each",
            "pending_run_ends_with_its_alerts",
            "pending_run_ends_with_its_alert",
            "what_one_remediation_cannot_record_is_not_begun",
        ],
    },
];
