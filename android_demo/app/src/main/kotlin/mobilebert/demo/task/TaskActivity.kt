package mobilebert.demo.task

import android.content.Intent
import android.os.Bundle
import android.view.Menu
import android.view.MenuItem
import android.view.View
import android.widget.CheckBox
import android.widget.EditText
import android.widget.TextView
import mobilebert.demo.ModelActivity
import mobilebert.demo.R
import mobilebert.demo.accuracy.AccuracyActivity
import mobilebert.demo.benchmark.BenchmarkActivity
import mobilebert.demo.model.OpenModel
import mobilebert.model.Head

/** Text in, result out: what a model is made for. */
class TaskActivity : ModelActivity(R.layout.task) {
    private val first: EditText get() = findViewById(R.id.first)
    private val second: EditText get() = findViewById(R.id.second)
    private val option: CheckBox get() = findViewById(R.id.option)

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        if (fresh) session.renew() // what came of other texts does not belong to the example
        val view = OutcomeView(findViewById(R.id.outcome))
        bind(findViewById(R.id.run), R.string.run, session.outcome, ::start, view::show)
    }

    private fun start(open: OpenModel) {
        val (one, two, checked) = Triple(first.text.toString(), second.text.toString(), option.isChecked)
        session.outcome.start { open.task.run(one, two, checked, it) }
    }

    override fun onModel(open: OpenModel) {
        setTitle(open.task.title)
        findViewById<TextView>(R.id.model).text = open.source.name
        show(findViewById(R.id.first_title), first, open.task.first)
        show(findViewById(R.id.second_title), second, open.task.second)
        val text = open.task.option
        option.visibility = if (text == null) View.GONE else View.VISIBLE
        if (text != null) option.setText(text)
        invalidateOptionsMenu()
    }

    private fun show(title: TextView, text: EditText, field: Field?) {
        for (view in listOf(title, text)) view.visibility = if (field == null) View.GONE else View.VISIBLE
        if (field == null) return
        title.setText(field.title)
        if (fresh && text.text.isEmpty()) text.setText(field.example)
    }

    override fun onCreateOptionsMenu(menu: Menu): Boolean {
        menuInflater.inflate(R.menu.task, menu)
        return super.onCreateOptionsMenu(menu)
    }

    override fun onPrepareOptionsMenu(menu: Menu): Boolean {
        val head = session.model?.model?.file?.head
        menu.findItem(R.id.benchmark).isVisible = head != null
        menu.findItem(R.id.accuracy).isVisible = head in SCORED
        return true
    }

    override fun onOptionsItemSelected(item: MenuItem): Boolean {
        val screen = when (item.itemId) {
            R.id.benchmark -> BenchmarkActivity::class.java
            R.id.accuracy -> AccuracyActivity::class.java
            else -> return super.onOptionsItemSelected(item)
        }
        startActivity(Intent(this, screen).setData(intent.data))
        return true
    }

    private companion object {
        val SCORED = listOf(Head.CLASSIFIER, Head.MULTI_LABEL_CLASSIFIER)
    }
}
