"""Sites that also accept ssh on port 443, at another host name, for networks that refuse port 22."""

# From the documentation of each, under "SSH over the HTTPS port" (GitHub), "altssh" (GitLab, Bitbucket).
PORT_443 = {
    "github.com": "ssh.github.com",
    "gitlab.com": "altssh.gitlab.com",
    "bitbucket.org": "altssh.bitbucket.org",
}
