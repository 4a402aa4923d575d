"""An output topic: how many tracks are alive."""

import diffseg_ros as ds
from std_msgs.msg import UInt32


class TrackCountSettings(ds.Settings):
    """What is counted."""

    lost_too: bool = ds.setting(True, 'count tracks that are out of view')


@ds.register_output('track_count', TrackCountSettings, message=UInt32)
def track_count(context):
    """Return the number of tracks of the frame."""
    lost_too = context.settings.lost_too
    return UInt32(data=sum(lost_too or track.pixels > 0 for track in context.result.tracks))
