//! Promises and the tests that check them: data for the first tables of `deploy/docs/reliability.md`.

/// A promise or an attack, and the functions that test it.
pub struct Promise {
    pub about: &'static str,
    pub tests: &'static [&'static str],
}

/// Invariants, in the order of the design.
pub const INVARIANTS: [Promise; 8] = [
    Promise {
        about: "Nothing stays held: after `kill -9`, a lost leader, a failed run, an uninstall, or with no process at all",
        tests: &[
            "hold_ends_at_its_deadline_without_a_daemon",
            "run_finishes_although_each_write_kills_the_process",
            "deadline_removes_the_hold_in_any_state",
            "run_with_unreadable_hold_ends_after_the_deadline",
            "uninstall_releases_holds_of_a_killed_daemon",
            "release_needs_no_daemon",
            "soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "No ReplicationSource and no PersistentVolumeClaim is written",
        tests: &[
            "held_sources_get_no_snapshot_and_are_not_written",
            "mode_act_has_exactly_the_rights_it_uses",
            "soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "A destructive call names uid and resourceVersion, is allowed by open gates, and follows evidence that rebuilds the object",
        tests: &[
            "a_target_is_pinned",
            "only_the_planned_snapshot_is_deleted",
            "snapshot_that_becomes_ready_is_not_deleted",
            "ordinary_object_is_kept_whole",
            "deleted_source_is_recreated_from_its_evidence",
            "each_violation_is_found",
            "soak_breaks_no_promise",
        ],
    },
    Promise {
        about: "An empty, stale or failed observation is neither \"nothing is stuck\" nor \"everything is\": without a fresh one nothing is done",
        tests: &[
            "unobserved_findings_are_never_zero",
            "doubt_is_shown_and_exits_with_2",
            "unsynced_watch_closes_freshness",
            "a_watch_that_fails_makes_the_run_wait",
            "nothing_is_released_before_the_sources_are_listed",
        ],
    },
    Promise {
        about: "A gate never blocks undoing",
        tests: &[
            "closed_gate_does_not_block_a_release",
            "a_gate_that_stays_closed_keeps_nothing_held_and_no_run_alive",
            "an_abort_behind_a_closed_gate_releases_at_once",
        ],
    },
    Promise {
        about: "A step is done when the cluster shows its effect",
        tests: &[
            "ineffective_hold_ends_the_run_before_a_deletion",
            "a_restart_is_complete_once_the_leases_are_held",
            "a_restore_that_hangs_again_is_no_success",
            "run_without_permitted_deletions_fails_and_is_undone",
        ],
    },
    Promise {
        about: "Nothing is changed by default: mode `observe` writes nothing, mode `plan` only plans",
        tests: &[
            "default_mode_is_observe",
            "mode_observe_reports_the_jam_and_writes_nothing",
            "mode_plan_records_the_plan_without_running_it",
            "mode_observe_has_no_right_to_write",
        ],
    },
    Promise {
        about: "No object of a tenant crashes, stalls or blinds the program, or makes it act where that tenant has no rights",
        tests: &[
            "attacking_tenant_disturbs_no_other",
            "forged_events_start_no_step",
            "forged_snapshots_do_not_affect_a_run",
            "hostile_connections_do_not_disturb_metrics_or_a_run",
            "times_that_cannot_be_parsed_hide_nothing",
        ],
    },
];

/// Problems found by a hostile review and in bug reports, by number.
pub const ATTACKS: [Promise; 17] = [
    Promise {
        about: "Thousands of claims named `vs-prime-<uid>`, after each other or at random, overflow the stack or stall every view",
        tests: &[
            "chained_claim_names_cost_no_recursion",
            "stray_populator_names_cost_no_scan",
            "one_lock_with_many_waiters_costs_one_pass",
            "unserved_snapshots_cost_one_lookup_each_driver",
            "attacking_tenant_disturbs_no_other",
        ],
    },
    Promise {
        about: "A field that an older CRD prunes is recorded again without a pause; a clock that is behind makes a hot loop",
        tests: &[
            "outdated_crd_blocks_runs_until_upgraded",
            "missing_field_is_named_by_its_path",
            "status_kept_whole_misses_nothing",
            "failing_run_is_driven_ever_less_often",
        ],
    },
    Promise {
        about: "Refused writes are repeated with every view, and the first of them block all others",
        tests: &[
            "refused_release_is_retried_with_backoff",
            "refused_object_waits_until_it_is_written",
            "stuck_deletion_that_cannot_be_annotated_blocks_nothing",
            "run_succeeds_on_a_faulty_api_server",
        ],
    },
    Promise {
        about: "`spec.sourcePVC` is a path or a query, or requires thousands of look-ups",
        tests: &[
            "invalid_name_is_missing_without_a_request",
            "hanging_lookup_delays_no_other",
            "round_alternates_between_namespaces",
            "round_ends_in_time_on_a_slow_api_server",
            "attacking_tenant_disturbs_no_other",
        ],
    },
    Promise {
        about: "Alerts fill a Remediation to etcd's limit; slow bodies occupy every slot; a web page posts to a port-forward",
        tests: &[
            "recorded_alerts_are_limited_in_size",
            "full_run_can_be_aborted",
            "full_run_makes_room_and_continues",
            "slow_bodies_block_no_other_client",
            "bodies_share_bounded_memory",
            "concurrent_scrapes_share_expositions",
            "webhook_accepts_only_json",
            "hostile_requests_are_refused",
        ],
    },
    Promise {
        about: "Annotations of 256 KiB, names at their limits, 10,000 sources",
        tests: &[
            "run_heals_objects_with_full_annotations",
            "long_names_are_cut_at_a_kilobyte",
            "largest_hold_and_record_are_accepted",
            "any_number_of_objects_that_are_not_acted_on_can_be_planned",
            "evidence_is_limited_and_always_has_the_identity",
            "plan_too_large_to_record_is_refused",
            "attacking_tenant_disturbs_no_other",
        ],
    },
    Promise {
        about: "A task ends unnoticed; a leader hangs; two containers share an identity; a machine is paused",
        tests: &[
            "end_is_reported_with_the_task_name",
            "panic_is_reported_with_the_task_name",
            "late_write_of_a_frozen_leader_does_no_harm",
            "term_ends_before_the_lease_may_be_taken",
            "fallback_identities_are_unique",
            "hanging_loop_fails_the_liveness_probe",
            "replica_with_a_stopped_clock_writes_nothing",
        ],
    },
    Promise {
        about: "\"Nothing is stuck\" is reported although nothing was read",
        tests: &[
            "unserved_collection_is_a_doubt",
            "excluded_driver_is_reported_with_its_claims",
            "cluster_without_a_csi_driver_is_a_doubt",
            "every_csi_driver_in_use_is_watched_by_default",
            "status_without_drivers_is_in_doubt_and_exits_with_2",
            "dashboard_is_green_only_if_everything_is_observed",
        ],
    },
    Promise {
        about: "Look-ups before a long gap count for an orphan",
        tests: &[
            "any_response_but_404_restarts_the_count",
            "absences_end_with_the_last_source_that_names_the_claim",
        ],
    },
    Promise {
        about: "Evidence loses fields",
        tests: &[
            "deleted_source_is_recreated_from_its_evidence",
            "leases_and_pods_are_kept_before_the_restart",
            "status_is_dropped_before_metadata_before_spec",
        ],
    },
    Promise {
        about: "Snapshots get the wrong reason, or a deletion that cannot help; a run that repaired nothing succeeds",
        tests: &[
            "unrepairable_run_ends_before_holding",
            "outcome_of_a_run_about_failed_snapshots",
            "outcome_of_a_run_about_locks",
            "content_without_its_snapshot_is_found",
            "protected_snapshots_and_those_the_driver_has_are_skipped",
        ],
    },
    Promise {
        about: "Lock keys are paths, shortened uids or quoted; drivers other than Rook's",
        tests: &[
            "lock_by_path_or_short_uid_explains_its_claim",
            "ambiguous_short_uid_matches_nothing",
            "configured_pattern_has_priority",
            "messages_of_known_drivers_are_recognised",
            "known_drivers_have_a_container",
        ],
    },
    Promise {
        about: "A rejected plan is offered again; a missing approval is a failure; one failed snapshot exceeds the blast radius; daemons act on each other's runs",
        tests: &[
            "rejected_plan_ends_the_run_without_changes",
            "a_run_that_waited_in_vain",
            "blast_radius_limits_deletions",
            "run_in_another_namespace_is_ignored",
            "run_of_another_daemon_is_not_joined",
        ],
    },
    Promise {
        about: "Payloads of Grafana and of old Alertmanagers",
        tests: &[
            "notification_of_grafana_is_parsed",
            "missing_fingerprint_is_accepted",
            "tool_that_owns_a_source_is_read_from_its_labels",
        ],
    },
    Promise {
        about: "The daemon's rights reach the storage operator",
        tests: &["restart_rights_are_limited_to_restarts"],
    },
    Promise {
        about: "The uninstall Job reaches no API server under default-deny",
        tests: &["network_policy_selects_the_uninstall_job"],
    },
    Promise {
        about: "Found by review: retries count as refusals, short leases count as not held, pods of two drivers, alerts that end",
        tests: &[
            "lock_errors",
            "lease_is_held_within_duration_and_clock_tolerance",
            "pod_of_two_drivers_is_followed_for_both",
            "pending_run_ends_with_its_alerts",
            "pending_run_ends_with_its_alert",
            "plan_too_large_to_record_is_refused",
        ],
    },
];
