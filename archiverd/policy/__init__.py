"""Every decision, pure: values in (the time included), values out; nothing here touches a disk or a clock."""
