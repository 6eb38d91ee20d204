"""How cost grows: rate, throughput, CPU and memory against the number of tunnels, the size of messages, of rules, of users, …"""
