"""Jobs, which end, and CronJobs, which begin them."""
