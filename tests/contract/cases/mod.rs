//! The cases, by subject. Each is one statement about the server's behaviour.

mod apply;
mod create;
mod custom;
mod definition;
mod delete;
mod discovery;
mod events;
mod list;
mod logs;
mod patch;
mod pods;
mod policy;
mod release;
mod table;
mod update;
mod watch;
mod watcher;

use futures::future::BoxFuture;

use crate::ground::Ground;

/// Result of a case.
pub type Outcome = anyhow::Result<()>;

/// One case.
pub struct Case {
    pub name: &'static str,
    pub run: fn(Ground) -> BoxFuture<'static, Outcome>,
}

/// The table of cases. A case that is not listed is dead code, about which the compiler warns.
macro_rules! cases {
    ($($module:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        &[$($(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            run: |ground| Box::pin($module::$case(ground)),
        },)*)*]
    };
}

/// Every case.
pub const ALL: &[Case] = cases! {
    create: [
        metadata_is_filled_in,
        system_metadata_of_the_body_is_replaced,
        names_are_generated,
        a_name_is_required,
        a_name_is_taken_once,
        a_name_is_a_dns_name,
        a_label_value_is_checked,
        a_namespace_has_to_exist,
        a_namespace_in_the_body_has_to_match,
        another_kind_is_refused,
        a_dry_run_stores_nothing,
        unknown_fields_are_dropped_with_a_warning,
        unknown_fields_are_refused_when_strict,
        unknown_fields_are_dropped_in_silence_when_ignored,
        a_wrong_json_type_is_a_bad_request,
        a_pod_gets_its_defaults,
        a_pod_needs_containers,
        a_deployment_selects_its_template,
        a_secret_takes_texts,
        a_claim_needs_a_size,
        the_default_class_is_filled_in,
        a_job_selects_its_pods_by_uid,
    ],
    custom: [
        unknown_fields_are_pruned_with_a_warning,
        unknown_fields_are_refused_when_strict,
        every_violation_is_a_cause,
        a_wrong_type_is_invalid,
        defaults_are_filled_in,
        a_null_is_dropped_unless_nullable,
        rules_say_what_may_not_change,
        status_is_dropped_at_creation,
        status_and_spec_are_written_apart,
        a_kind_without_status_subresource_writes_it_with_the_rest,
        generation_counts_changes_of_the_spec,
        open_objects_keep_everything,
        versions_share_their_objects,
        an_update_names_its_version,
        replicas_are_written_through_scale,
        lists_select_by_declared_fields,
    ],
    definition: [
        a_definition_is_served_once_established,
        a_definition_takes_its_objects_with_it,
        a_definition_is_named_after_its_resource,
    ],
    policy: [
        a_snapshot_of_a_held_source_is_refused,
        a_clone_is_refused_and_a_restore_passes,
        a_hold_ends_at_its_deadline,
        a_patch_releases_one_source_and_a_deletion_all,
        a_held_class_is_refused_whoever_owns_the_snapshot,
        a_hold_that_is_being_deleted_holds_nothing,
        a_hold_elsewhere_holds_nothing,
        a_hold_needs_its_deadline,
    ],
    update: [
        a_stale_version_conflicts,
        without_a_version_the_last_wins,
        another_uid_conflicts,
        an_absent_object_is_not_found,
        a_lease_is_created_by_an_update,
        the_name_cannot_change,
        the_creation_time_stays,
        no_change_is_no_write,
        immutable_fields_are_refused,
        a_claims_spec_is_fixed,
        annotations_of_a_deployment_count_as_a_generation,
    ],
    patch: [
        null_removes,
        lists_are_replaced,
        another_uid_is_invalid,
        a_stale_version_conflicts,
        an_absent_object_is_not_found,
        no_change_is_no_write,
        an_unknown_field_changes_nothing_when_strict,
        an_unknown_field_is_dropped_with_a_warning,
        a_dry_run_stores_nothing,
        operations_apply_in_order,
        a_failed_test_changes_nothing,
        containers_merge_by_name,
        a_directive_deletes_an_item,
        items_follow_the_given_order,
        a_custom_resource_has_no_strategy,
    ],
    apply: [
        an_absent_object_is_created,
        a_uid_keeps_from_creating,
        fields_are_owned,
        a_plain_write_owns_what_it_changes,
        another_appliers_field_conflicts,
        several_conflicts_are_all_named,
        force_takes_fields_over,
        a_shared_value_is_owned_by_both,
        an_equal_plain_write_owns_nothing,
        a_plain_write_takes_fields_over,
        no_change_is_no_write,
        a_stale_version_conflicts,
        status_is_applied_apart,
        managed_fields_are_not_applied,
        a_manager_is_required,
        an_unknown_field_is_refused,
        a_manager_can_be_forgotten,
        a_dry_run_stores_nothing,
    ],
    release: [
        field_that_is_no_longer_applied_is_removed,
        field_with_another_owner_stays,
        field_set_before_stays,
        items_are_owned_by_key,
        values_of_a_set_are_owned_one_by_one,
        atomic_fields_are_owned_whole,
        keys_of_a_map_are_owned_one_by_one,
        a_built_in_list_merges_by_key,
    ],
    delete: [
        an_object_goes,
        an_absent_object_is_not_found,
        another_uid_conflicts,
        a_stale_version_conflicts,
        a_finalizer_holds_it,
        no_finalizer_is_added_to_what_goes,
        deletion_cannot_be_taken_back,
        a_deletion_counts_as_a_generation,
        a_dry_run_deletes_nothing,
        a_collection_goes_by_label,
        dependents_follow_their_owner,
        dependents_of_several_owners_stay_with_the_rest,
        orphans_stay,
        the_owner_waits_in_the_foreground,
        a_namespace_takes_its_objects_with_it,
        a_namespace_that_goes_takes_nothing_new,
        a_namespace_is_let_go_through_finalize_only,
        a_claim_in_use_stays,
    ],
    pods: [
        a_scheduled_pod_gets_time_to_stop,
        time_to_stop_is_only_shortened,
        an_unscheduled_pod_goes_at_once,
        a_finished_pod_goes_at_once,
        a_binding_schedules,
        a_second_binding_conflicts,
        an_eviction_deletes,
        an_eviction_keeps_its_preconditions,
        the_spec_is_fixed_but_for_images,
        status_leaves_the_spec_alone,
        logs_of_an_absent_pod_are_not_found,
        logs_of_an_unscheduled_pod_are_empty,
        logs_name_a_container_where_there_are_several,
    ],
    logs: [
        a_log_comes_from_the_pods_kubelet,
        a_followed_log_comes_line_by_line,
        a_kubelets_refusal_is_passed_on,
        a_kubelet_that_does_not_answer_is_an_internal_error,
    ],
    list: [
        pages_follow_each_other_at_one_revision,
        an_unknown_continuation_is_refused,
        labels_select,
        names_select,
        pods_select_by_node_and_phase,
        events_select_by_what_they_are_about,
        an_unknown_field_label_is_refused,
        a_selector_that_makes_no_sense_is_refused,
        all_namespaces_are_listed_together,
        a_revision_of_the_future_times_out,
        metadata_alone_is_served,
    ],
    watch: [
        events_follow_a_revision,
        existing_objects_come_first,
        a_streamed_list_ends_with_a_bookmark,
        a_streamed_list_names_its_match,
        objects_enter_and_leave_a_selection,
        a_deletion_carries_the_last_state,
        one_object_is_watched_by_name,
        a_watch_ends_in_time,
        a_quiet_watch_hears_of_the_revision,
        a_revision_of_the_past_is_gone,
    ],
    watcher: [
        a_listing_watcher_follows,
        a_streaming_watcher_follows,
        typed_objects_come_back,
        metadata_is_watched,
    ],
    table: [
        pods_have_their_columns,
        claims_have_their_columns,
        a_definition_gives_its_columns,
        a_watch_sends_its_columns_once,
    ],
    events: [
        both_groups_serve_the_same_events,
    ],
    discovery: [
        groups_and_resources_are_listed,
        all_is_listed_at_once,
        an_unknown_path_is_not_found,
        the_server_tells_that_it_validates,
        everybody_may_ask_for_access,
        a_token_is_known_again,
    ],
};
