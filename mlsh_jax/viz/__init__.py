"""Pictures of what agents do: replays, top-down figures and animations."""
