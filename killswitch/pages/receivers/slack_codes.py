"""What the codes mean by which Slack's Web API refuses a call. Pages and presses read the same tables."""

from __future__ import annotations

import re

CODE = re.compile(r"[a-z0-9_]{1,60}\Z")
DENIED = frozenset({
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
    "missing_scope", "not_allowed_token_type", "access_denied", "org_login_required", "ekm_access_denied",
    "team_access_not_granted", "two_factor_setup_required", "enterprise_is_restricted", "accesslimited",
})  # fmt: skip
LATER = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable", "request_timeout"})
# Slack documents that a part of the call may have succeeded.
MAYBE = frozenset({"internal_error", "fatal_error", "update_failed"})
# These are about the channel or the method, so a plainer message would be refused too.
PLACE = frozenset({
    "channel_not_found", "not_in_channel", "is_archived", "is_inactive", "channel_type_not_supported",
    "restricted_action", "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
    "messages_tab_disabled", "external_channel_migrating", "team_not_found", "user_not_found", "team_added_to_org",
    "unknown_method", "method_deprecated", "deprecated_endpoint", "as_user_not_supported", "invalid_channel",
    "posting_to_channel_denied", "file_not_found", "file_uploads_disabled", "file_uploads_except_images_disabled",
    "file_upload_size_restricted", "storage_limit_reached", "file_type_not_allowed",
    "slack_connect_file_upload_sharing_blocked",
})  # fmt: skip
# The message cannot be a reply in this thread, but can be posted outside it.
NO_THREAD = frozenset({
    "cannot_reply_to_message", "thread_not_found", "invalid_thread_ts", "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
})  # fmt: skip
# The message cannot be changed, and never will.
FIXED = frozenset({"cant_update_message", "edit_window_closed"})
