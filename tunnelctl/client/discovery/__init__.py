"""Discovery: `check` without a target finds the settings that name a proxy on this machine, and tries each proxy.

    settings/      which files, variables and programs there are (sources), how they are read with care (machine), and what came
                   of it (gather)
    readers/       one pure function for each format: its text in, the settings that it names out
    candidates     the distinct proxies that the settings name
    trial          one proxy, tried with each target
    waits          what is waited for meanwhile
    contradictions what the settings say about each other
    survey         all of that in order, reported as events

Nothing on the machine is changed. A value is kept as it was written, password included, because the trial may have to log in.
So no record shows it in its repr, and only the masked form of a parsed URL leaves this package. A password goes to the proxy whose
URL it was written in, and only after that proxy has asked for it.
"""
