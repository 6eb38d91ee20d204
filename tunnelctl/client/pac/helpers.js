// The functions that a PAC file may call, written from the Netscape specification of 1996, its description on MDN, and
// Microsoft's page on the IPv6 extension ("Ex"); and what else the helper code of Firefox and Chromium defines, for scripts
// use that too. No name is looked up here: the addresses that are known stand in a table, and for a name that is not in it the
// script is stopped, and run again when it is.

const tunnelctl = (() => {
  const MAX_ANSWER = 4096, MAX_ALERTS = 20, MAX_ALERT = 200, MAX_NAME = 255;
  const stringify = JSON.stringify;
  let known = {}, own = [], room = 0;
  let missing = new Set(), alerts = [], answer = {};

  return {
    // room: how many more names may be looked up; further ones have no address.
    begin(table, addresses, more) {
      known = table;
      own = addresses;
      room = more;
    },

    run(url, host) {
      if (typeof FindProxyForURL !== "function") {
        answer = { failure: "it has no function FindProxyForURL" };
        return;
      }
      const result = FindProxyForURL(url, host);
      if (result === undefined || result === null) answer = { answer: "" };
      else if (typeof result !== "string") answer = { failure: `FindProxyForURL returned ${typeof result}, not a string` };
      else if (result.length > MAX_ANSWER) answer = { failure: `FindProxyForURL returned ${result.length} characters` };
      else answer = { answer: result };
    },

    report() {
      return stringify({ ...answer, missing: [...missing], alerts });
    },

    addresses(host) {
      const name = String(host).toLowerCase();
      if (tunnelctl.octets(name)) return [name];
      if (Object.hasOwn(known, name)) return known[name];
      if (!name || name.length > MAX_NAME || missing.size >= room) return [];
      missing.add(name);
      throw new Error(`the address of ${name} is not known yet`);
    },

    own() {
      return own;
    },

    alert(text) {
      if (alerts.length < MAX_ALERTS) alerts.push(String(text).slice(0, MAX_ALERT));
    },

    // The 4 or 16 octets of an address, null for anything else.
    octets(text) {
      return tunnelctl.octets4(text) || tunnelctl.octets6(text);
    },

    octets4(text) {
      const parts = String(text).split(".");
      const right = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256);
      return right ? parts.map(Number) : null;
    },

    octets6(text) {
      const halves = String(text).split("::");
      if (!String(text).includes(":") || halves.length > 2) return null;
      const [head, tail] = halves.map((half) => (half ? groups(half.split(":")) : []));
      if (!head || tail === null) return null;
      if (halves.length === 1) return head.length === 16 ? head : null;
      return head.length + tail.length <= 14 ? [...head, ...Array(16 - head.length - tail.length).fill(0), ...tail] : null;
    },

    // IPv4 as IPv6 has it, ::ffff:0:0/96.
    mapped(octets) {
      return octets.length === 4 ? [...Array(10).fill(0), 255, 255, ...octets] : octets;
    },

    startAlike(first, second, bits) {
      return first.length === second.length && first.every((octet, place) => {
        const shift = Math.min(8, Math.max(0, 8 * (place + 1) - bits));
        return octet >> shift === second[place] >> shift;
      });
    },

    // Is now between the two? Each is a list of numbers, the greatest unit first; a span may go past the end of the year or the day.
    between(low, now, high) {
      const order = (first, second) => first.map((number, place) => number - second[place]).find((difference) => difference) || 0;
      const begun = order(low, now) <= 0, over = order(now, high) > 0;
      return order(low, high) <= 0 ? begun && !over : begun || !over;
    },

    // The arguments without GMT at their end, and how to ask a Date about itself.
    timed(given) {
      const args = [...given];
      const gmt = String(args.at(-1)).toUpperCase() === "GMT";
      if (gmt) args.pop();
      const now = new Date();
      return [args, (unit) => now[`get${gmt ? "UTC" : ""}${unit}`]()];
    },
  };

  function groups(parts) {
    const octets = [];
    for (const [place, part] of parts.entries()) {
      const quad = place === parts.length - 1 && tunnelctl.octets4(part);
      if (quad) octets.push(...quad);
      else if (/^[0-9a-f]{1,4}$/i.test(part)) octets.push(parseInt(part, 16) >> 8, parseInt(part, 16) & 255);
      else return null;
    }
    return octets;
  }
})();

function isPlainHostName(host) {
  return !/[.:]/.test(host);
}

function dnsDomainIs(host, domain) {
  return String(host).toLowerCase().endsWith(String(domain).toLowerCase());
}

function localHostOrDomainIs(host, hostdom) {
  const short = String(host).toLowerCase(), full = String(hostdom).toLowerCase();
  return short === full || (!short.includes(".") && full.startsWith(`${short}.`));
}

function dnsDomainLevels(host) {
  return String(host).split(".").length - 1;
}

// Whole strings are matched; * and ? are the only characters that are special. No pattern of RegExp is made of it: that could take
// exponential time.
function shExpMatch(text, pattern) {
  text = String(text);
  pattern = String(pattern);
  let at = 0, star = -1, resume = 0, place = 0;
  while (at < text.length) {
    if (pattern[place] === "*") {
      star = place++;
      resume = at;
    } else if (place < pattern.length && (pattern[place] === "?" || pattern[place] === text[at])) {
      place++;
      at++;
    } else if (star >= 0) {
      place = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[place] === "*") place++;
  return place === pattern.length;
}

function dnsResolve(host) {
  return tunnelctl.addresses(host).find(tunnelctl.octets4) || null;
}

function isResolvable(host) {
  return dnsResolve(host) !== null;
}

function isInNet(host, pattern, mask) {
  const network = tunnelctl.octets4(pattern), bits = tunnelctl.octets4(mask), address = tunnelctl.octets4(dnsResolve(host));
  return Boolean(network && bits && address) && bits.every((octet, place) => (network[place] & octet) === (address[place] & octet));
}

function isValidIpAddress(text) {
  return tunnelctl.octets4(text) !== null;
}

// The address as a number of 32 bits with a sign, for & and |.
function convert_addr(text) {
  const octets = String(text).split(".");
  return [0, 1, 2, 3].reduce((number, place) => (number << 8) | (octets[place] & 255), 0);
}

function myIpAddress() {
  return tunnelctl.own().find(tunnelctl.octets4) || tunnelctl.own()[0] || "127.0.0.1";
}

function dnsResolveEx(host) {
  return tunnelctl.addresses(host).join(";");
}

function isResolvableEx(host) {
  return dnsResolveEx(host) !== "";
}

function myIpAddressEx() {
  return tunnelctl.own().join(";");
}

function isInNetEx(host, prefix) {
  const [base, length] = String(prefix).split("/");
  const network = tunnelctl.octets(base);
  if (!network || !/^\d{1,3}$/.test(length) || Number(length) > 8 * network.length) return false;
  // Chromium compares addresses of both kinds, IPv4 by its IPv4-mapped form.
  const bits = Number(length) + 8 * (16 - network.length), wide = tunnelctl.mapped(network);
  return tunnelctl.addresses(host).some((address) => tunnelctl.startAlike(tunnelctl.mapped(tunnelctl.octets(address)), wide, bits));
}

// IPv6 before IPv4, each in the order of its numbers.
function sortIpAddressList(list) {
  const addresses = String(list).split(";").map((text) => text.trim()).filter(Boolean);
  if (!addresses.every(tunnelctl.octets)) return "";
  const key = (address) => tunnelctl.octets(address).map((octet) => String(octet).padStart(3, "0")).join();
  const rank = (address) => (tunnelctl.octets4(address) ? `2 ${key(address)}` : `1 ${key(address)}`);
  return addresses.sort((first, second) => (rank(first) < rank(second) ? -1 : 1)).join(";");
}

function getClientVersion() {
  return "1.0";
}

function alert(text) {
  tunnelctl.alert(text);
}

// As var, so that a script may have variables of these names.
var wdays = { SUN: 0, MON: 1, TUE: 2, WED: 3, THU: 4, FRI: 5, SAT: 6 };
var months = { JAN: 0, FEB: 1, MAR: 2, APR: 3, MAY: 4, JUN: 5, JUL: 6, AUG: 7, SEP: 8, OCT: 9, NOV: 10, DEC: 11 };

function weekdayRange(...given) {
  const [args, get] = tunnelctl.timed(given);
  const [first, last = first] = args.map((day) => ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"].indexOf(String(day).toUpperCase()));
  return first >= 0 && last >= 0 && tunnelctl.between([first], [get("Day")], [last]);
}

// One date or two, each of a day, a month, a year, or several of them in this order.
function dateRange(...given) {
  const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
  const [args, get] = tunnelctl.timed(given);
  const parts = args.map((part) => {
    const month = MONTHS.indexOf(String(part).toUpperCase());
    if (month >= 0) return ["Month", month];
    return [Number(part) > 31 ? "FullYear" : "Date", Number(part)];
  });
  const half = parts.length / 2;
  const units = (some) => some.map(([unit]) => unit).join();
  const two = parts.length % 2 === 0 && units(parts.slice(0, half)) === units(parts.slice(half));
  const first = (two ? parts.slice(0, half) : parts).reverse(), last = two ? parts.slice(half).reverse() : first;
  const numbers = (some) => some.map(([, number]) => number);
  if (!parts.length || numbers(parts).some(Number.isNaN)) return false;
  return tunnelctl.between(numbers(first), first.map(([unit]) => get(unit)), numbers(last));
}

// An hour, two hours, or two times of day with minutes, or with minutes and seconds.
function timeRange(...given) {
  const [args, get] = tunnelctl.timed(given);
  const numbers = args.map(Number);
  if (![1, 2, 4, 6].includes(numbers.length) || numbers.some(Number.isNaN)) return false;
  const count = Math.max(1, numbers.length / 2);
  const now = ["Hours", "Minutes", "Seconds"].slice(0, count).map(get);
  return tunnelctl.between(numbers.slice(0, count), now, numbers.slice(-count));
}
