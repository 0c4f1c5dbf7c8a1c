// Niceties only. A link to an event opens what hides it; pointing at a number
// lights up its events; printing opens the trials.
(function () {
  function reveal() {
    var id = location.hash.slice(1), el = id && document.getElementById(id);
    if (!el) return;
    for (var d = el.closest("details"); d; d = d.parentElement && d.parentElement.closest("details")) d.open = true;
    el.scrollIntoView({ block: "center" });
  }
  addEventListener("hashchange", reveal);
  reveal();
  function light(on) {
    return function (ev) {
      var a = ev.target.closest && ev.target.closest('a[href^="#e"]');
      if (!a) return;
      document.querySelectorAll('a[href="' + a.getAttribute("href") + '"]').forEach(function (x) { x.classList.toggle("lit", on); });
    };
  }
  document.addEventListener("mouseover", light(true));
  document.addEventListener("mouseout", light(false));
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details.trial").forEach(function (d) { d.open = true; });
  });
})();
