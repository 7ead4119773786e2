"""The cron job controller: jobs at the times of a schedule."""
