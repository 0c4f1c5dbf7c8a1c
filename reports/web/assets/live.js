// Keeps the page of a drill that runs up to date. Without it, the page shows what was
// known when it was loaded.
(function () {
  var state = document.getElementById("live");
  if (!state || !window.EventSource || state.hasAttribute("data-over")) return;
  var log = document.getElementById("log"), end = document.getElementById("end"), link = document.getElementById("link");
  var seen = Number(state.dataset.seen);
  log.scrollTop = log.scrollHeight;
  var events = new EventSource(state.dataset.events + "?after=" + seen);
  events.addEventListener("state", function (e) { state.innerHTML = e.data; });
  events.addEventListener("line", function (e) {
    if (Number(e.lastEventId) <= seen) return;
    seen = Number(e.lastEventId);
    var below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    var line = document.createElement("li");
    line.innerHTML = e.data;
    log.appendChild(line);
    if (below) log.scrollTop = log.scrollHeight;
  });
  events.addEventListener("end", function (e) {
    events.close();
    link.textContent = "";
    end.innerHTML = e.data;
    document.getElementById("is").textContent = "The drill is over";
    var stop = document.getElementById("stop");
    if (stop) stop.remove();
  });
  events.onopen = function () { link.textContent = ""; link.className = ""; };
  events.onerror = function () {
    link.className = "problem";
    link.textContent = events.readyState === EventSource.CLOSED ?
      "The stream has ended: reload the page to see what is new." :
      "The connection to dapple serve is lost. What is shown may be old; the drill goes on without it, and it is tried again.";
  };
})();
